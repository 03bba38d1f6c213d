#include "server/service/serving_model.h"

#include <pthread.h>

#include <future>
#include <utility>

#include "common/support/caught.h"
#include "common/support/status_macros.h"

namespace denoised {

absl::StatusOr<std::shared_ptr<ServingModel>> ServingModel::Start(ModelInfo info, const EngineFactory& make_engine,
                                                                  const SchedulerOptions& options,
                                                                  SchedulerObserver* observer,
                                                                  const ServingModel* beside) {
  DENOISED_ASSIGN_OR_RETURN(NoiseSchedule schedule, NoiseSchedule::Create(info.metadata.noise_schedule));
  std::shared_ptr<ServingModel> model(new ServingModel(std::move(info), std::move(schedule)));
  std::promise<absl::Status> started;
  std::future<absl::Status> result = started.get_future();
  const auto prepare = [&make_engine, &options, observer, beside, &model]() -> absl::Status {
    DENOISED_ASSIGN_OR_RETURN(model->engine_, make_engine());
    model->scheduler_ = std::make_unique<Scheduler>(*model->engine_, options, observer);
    return model->Calibrate(beside);
  };
  model->thread_ = std::thread([&prepare, &started, self = model.get()] {
    pthread_setname_np(pthread_self(), "scheduler");
    const absl::Status status = Caught("the engine cannot be prepared", prepare);
    started.set_value(status);  // NOTE: what this lambda refers to may be gone from here on, except the model itself
    if (status.ok()) self->scheduler_->Run();
  });
  DENOISED_RETURN_IF_ERROR(result.get());
  return model;
}

// Whether its steps take as long, as far as can be known without taking any.
bool ServingModel::StepsLike(const ServingModel& other) const {
  return info_.device == other.info_.device && info_.metadata.unet == other.info_.metadata.unet &&
         engine_->Description() == other.engine_->Description() &&
         scheduler_->options().max_batch_rows == other.scheduler_->options().max_batch_rows;
}

absl::Status ServingModel::Calibrate(const ServingModel* beside) {
  if (beside != nullptr && StepsLike(*beside)) return scheduler_->CalibrateLike(*beside->scheduler_);
  return scheduler_->Calibrate();
}

ServingModel::~ServingModel() {
  if (scheduler_ != nullptr) scheduler_->Shutdown();
  if (thread_.joinable()) thread_.join();
}

}  // namespace denoised
