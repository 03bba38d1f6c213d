#include "server/service/serving_model.h"

#include <pthread.h>

#include <future>
#include <utility>

#include "common/support/status_macros.h"

namespace denoised {

absl::StatusOr<std::shared_ptr<ServingModel>> ServingModel::Start(ModelInfo info, const EngineFactory& make_engine,
                                                                  const SchedulerOptions& options,
                                                                  SchedulerObserver* observer) {
  DENOISED_ASSIGN_OR_RETURN(NoiseSchedule schedule, NoiseSchedule::Create(info.metadata.noise_schedule));
  std::shared_ptr<ServingModel> model(new ServingModel(std::move(info), std::move(schedule)));
  std::promise<absl::Status> started;
  std::future<absl::Status> result = started.get_future();
  const auto prepare = [&make_engine, &options, observer, &model]() -> absl::Status {
    DENOISED_ASSIGN_OR_RETURN(model->engine_, make_engine());
    model->scheduler_ = std::make_unique<Scheduler>(*model->engine_, options, observer);
    return model->scheduler_->Calibrate();
  };
  model->thread_ = std::thread([&prepare, &started, self = model.get()] {
    pthread_setname_np(pthread_self(), "scheduler");
    const absl::Status status = prepare();
    started.set_value(status);  // NOTE: what this lambda refers to may be gone from here on, except the model itself
    if (status.ok()) self->scheduler_->Run();
  });
  DENOISED_RETURN_IF_ERROR(result.get());
  return model;
}

ServingModel::~ServingModel() {
  if (scheduler_ != nullptr) scheduler_->Shutdown();
  if (thread_.joinable()) thread_.join();
}

}  // namespace denoised
