#include "server/loading/load_serving_model.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/engine/cuda/cuda_engine.h"
#include "common/engine/device.h"
#include "common/engine/make_engine.h"
#include "common/engine/self_test.h"
#include "common/model/precision.h"
#include "common/support/available_cores.h"
#include "common/support/low_priority.h"
#include "common/support/status_macros.h"
#include "server/loading/checkpoint_source.h"
#include "server/loading/faulty_engine.h"

namespace denoised {
namespace {

constexpr int kCpuBatchRows = 16;
constexpr int kCudaBatchRows = 256;  // in a build without the kernel

SchedulerOptions MakeSchedulerOptions(const ServingModelOptions& options, int rows) {
  SchedulerOptions scheduler = {.max_batch_rows = rows, .max_queued_images = options.max_queued_images};
  const int64_t places = int64_t{rows} + options.max_queued_images;
  scheduler.taken_places = options.taken_places;
  scheduler.another_at_work = options.another_at_work;
  scheduler.max_client_images = options.max_client_images > 0 ? options.max_client_images : places - places / 8;
  scheduler.max_queued_steps = options.max_queued_steps > 0 ? options.max_queued_steps : 1000 * places;
  return scheduler;
}

void Tell(const ServingModelOptions& options, const std::string& news) {
  if (options.tell) options.tell(news);
}

// This takes most of a second of a core.
absl::StatusOr<CheckpointSource> Read(const ServingModelOptions& options) {
  const auto read = [&] {
    return ReadSource(options.checkpoint, [&](const std::string& news) { Tell(options, news); });
  };
  if (!options.in_background) return read();
  absl::StatusOr<CheckpointSource> source = absl::UnknownError("not read");
  RunAtLowPriority([&] { source = read(); });
  return source;
}

int BatchRows(const ServingModelOptions& options, const std::string& device) {
  if (options.max_batch_rows > 0) return options.max_batch_rows;
  if (device == "cpu") return std::max(kCpuBatchRows, AvailableCores());
  const int filling = CudaRowsThatFill(CudaIndexOf(device));
  return filling > 0 ? filling : kCudaBatchRows;
}

absl::StatusOr<std::shared_ptr<ServingModel>> StartModel(const CheckpointSource& source, EngineOptions engine,
                                                         std::vector<std::string> passed_over,
                                                         const ServingModelOptions& options,
                                                         SchedulerObserver* observer) {
  const PlainCheckpoint& checkpoint = source.checkpoint;
  const SchedulerOptions scheduler_options = MakeSchedulerOptions(options, engine.max_rows);
  engine.num_slots = UsefulSlots(scheduler_options);
  ModelInfo info{.metadata = checkpoint.metadata,
                 .sha256 = checkpoint.sha256,
                 .parameter_count = static_cast<uint64_t>(checkpoint.parameter_count),
                 .device = engine.device,
                 .passed_over = std::move(passed_over),
                 .golden_drawn_by = checkpoint.golden.has_value() ? checkpoint.golden->drawn_by : ""};
  const auto make_unchecked = [&](const PlainCheckpoint& drawn,
                                  const EngineOptions& wanted) -> absl::StatusOr<std::unique_ptr<Engine>> {
    DENOISED_ASSIGN_OR_RETURN(std::unique_ptr<Engine> made, MakeEngine(drawn, wanted));
    return InjectFault(options.fault, FaultTime::kSelfTest, std::move(made));
  };
  const auto make_engine = [&]() -> absl::StatusOr<std::unique_ptr<Engine>> {
    DENOISED_ASSIGN_OR_RETURN(std::unique_ptr<Engine> checked,
                              MakeCheckedEngine(checkpoint, source.reference, engine, make_unchecked));
    return InjectFault(options.fault, FaultTime::kServing, std::move(checked));
  };
  return ServingModel::Start(std::move(info), make_engine, scheduler_options, observer, options.beside.get());
}

// The last reason's code, and all reasons.
absl::Status NoneServes(const absl::Status& last, const std::vector<std::string>& reasons, const std::string& device) {
  if (reasons.size() == 1) {
    const char* advice = absl::IsInternal(last) ? "; choose another --device or --precision" : "";
    return absl::Status(last.code(), absl::StrCat(last.message(), advice));
  }
  return absl::Status(
      last.code(),
      absl::StrCat("--device=", device, ": no engine can serve this checkpoint: ", absl::StrJoin(reasons, "; ")));
}

}  // namespace

absl::StatusOr<std::shared_ptr<ServingModel>> LoadServingModel(const ServingModelOptions& options,
                                                               SchedulerObserver* observer) {
  DENOISED_ASSIGN_OR_RETURN(std::vector<EngineOptions> candidates,
                            EngineCandidates({.device = options.device,
                                              .num_threads = options.threads,
                                              .precision = ParsePrecision(options.precision),
                                              .beside_another = options.in_background,
                                              .another_at_work = options.another_at_work}));
  DENOISED_ASSIGN_OR_RETURN(const CheckpointSource source, Read(options));
  std::vector<std::string> passed_over;
  // A GPU that seems to be here and is not among them is told of like those that are tried in vain.
  const std::string trouble = options.device == "auto" && candidates.front().device == "cpu" ? CudaTrouble() : "";
  if (!trouble.empty()) passed_over.push_back(absl::StrCat("cuda: ", trouble));
  absl::Status status;
  for (EngineOptions& candidate : candidates) {
    if (options.give_up && options.give_up()) return absl::CancelledError("loading was given up");
    candidate.max_rows = BatchRows(options, candidate.device);
    Tell(options, absl::StrCat("trying ", CandidateName(candidate), ": the same images, then the times of its steps"));
    absl::StatusOr<std::shared_ptr<ServingModel>> model = StartModel(source, candidate, passed_over, options, observer);
    if (model.ok()) return model;
    status = model.status();
    passed_over.push_back(absl::StrCat(CandidateName(candidate), ": ", status.message()));
  }
  return NoneServes(status, passed_over, options.device);
}

}  // namespace denoised
