#include "server/loading/load_serving_model.h"

#include <algorithm>

#include "common/checkpoint/checkpoint.h"
#include "common/engine/device.h"
#include "common/engine/make_engine.h"
#include "common/model/precision.h"
#include "common/support/available_cores.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr int kCpuBatchRows = 16;
constexpr int kCudaBatchRows = 256;

SchedulerOptions MakeSchedulerOptions(const ServingModelOptions& options, int rows) {
  SchedulerOptions scheduler = {.max_batch_rows = rows, .max_queued_images = options.max_queued_images};
  const int64_t places = int64_t{rows} + options.max_queued_images;
  scheduler.max_client_images = options.max_client_images > 0 ? options.max_client_images : places - places / 8;
  scheduler.max_queued_steps = options.max_queued_steps > 0 ? options.max_queued_steps : 1000 * places;
  return scheduler;
}

}  // namespace

absl::StatusOr<std::shared_ptr<ServingModel>> LoadServingModel(const ServingModelOptions& options,
                                                               SchedulerObserver* observer) {
  DENOISED_ASSIGN_OR_RETURN(const std::string device, ResolveDevice(options.device));
  DENOISED_ASSIGN_OR_RETURN(const Checkpoint checkpoint, LoadCheckpoint(options.checkpoint));
  const int default_rows = device == "cpu" ? std::max(kCpuBatchRows, AvailableCores()) : kCudaBatchRows;
  const int rows = options.max_batch_rows > 0 ? options.max_batch_rows : default_rows;
  ModelInfo info{.metadata = checkpoint.metadata,
                 .sha256 = checkpoint.sha256,
                 .parameter_count = static_cast<uint64_t>(checkpoint.parameter_count),
                 .device = device};
  const SchedulerOptions scheduler_options = MakeSchedulerOptions(options, rows);
  const auto make_engine = [&] {
    return MakeEngine(checkpoint, {.device = device,
                                   .num_slots = UsefulSlots(scheduler_options),
                                   .max_rows = rows,
                                   .num_threads = options.threads,
                                   .precision = ParsePrecision(options.precision)});
  };
  return ServingModel::Start(std::move(info), make_engine, scheduler_options, observer);
}

}  // namespace denoised
