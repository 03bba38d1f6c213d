// File: serving_model.h
//
// One model being served: what is known about it, its engine, and the scheduler on a thread of its own.
//
//   absl::StatusOr<std::shared_ptr<ServingModel>> model = ServingModel::Start(info, make_engine, {}, observer);
//   absl::StatusOr<Admission> admission = (*model)->scheduler().Submit(request, listener);
//
// Thread-safe. Destroying it shuts the scheduler down and joins its thread, so never from that thread.
#ifndef DENOISED_SERVER_SERVICE_SERVING_MODEL_H_
#define DENOISED_SERVER_SERVICE_SERVING_MODEL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "common/diffusion/engine.h"
#include "common/diffusion/noise_schedule.h"
#include "common/model/model_metadata.h"
#include "server/scheduler/scheduler.h"

namespace denoised {

struct ModelInfo {
  ModelMetadata metadata;
  std::string sha256;  // of the checkpoint file, hexadecimal
  uint64_t parameter_count = 0;
  std::string device;                    // as ResolveDevice names it
  std::vector<std::string> passed_over;  // engines that would have gone first, and why they do not serve
  std::string golden_drawn_by;           // what drew the images that the checkpoint carries; empty: it carries none

  // Names the checkpoint: the first 12 digits of its SHA-256.
  std::string version() const { return sha256.substr(0, 12); }
};

class ServingModel {
 public:
  // Makes the engine on the scheduler's thread, the only one that will call it.
  using EngineFactory = std::function<absl::StatusOr<std::unique_ptr<Engine>>()>;

  // Returns once the engine is warm. The factory's error, or the engine's if it cannot step. `observer` may be null and
  // outlives the model. If `beside`, which may be null and may be at work, has an engine like this one's, its steps are
  // not timed again.
  static absl::StatusOr<std::shared_ptr<ServingModel>> Start(ModelInfo info, const EngineFactory& make_engine,
                                                             const SchedulerOptions& options,
                                                             SchedulerObserver* observer,
                                                             const ServingModel* beside = nullptr);
  ~ServingModel();
  ServingModel(const ServingModel&) = delete;
  ServingModel& operator=(const ServingModel&) = delete;

  const ModelInfo& info() const { return info_; }
  const NoiseSchedule& schedule() const { return schedule_; }
  const Engine& engine() const { return *engine_; }  // to describe it; its scheduler alone may run it
  Scheduler& scheduler() { return *scheduler_; }
  const Scheduler& scheduler() const { return *scheduler_; }

 private:
  bool StepsLike(const ServingModel& other) const;
  absl::Status Calibrate(const ServingModel* beside);
  ServingModel(ModelInfo info, NoiseSchedule schedule) : info_(std::move(info)), schedule_(std::move(schedule)) {}

  // Constant after Start.
  const ModelInfo info_;
  const NoiseSchedule schedule_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Scheduler> scheduler_;
  std::thread thread_;
};

struct ServingModelOptions {
  std::string checkpoint;
  std::string device = "auto";
  std::string precision = "auto";  // of PrecisionNames()
  int threads = 0;                 // CPU workers; 0: one per core
  int max_batch_rows = 0;          // 0: 16 on the CPU, or as many as cores, 256 on CUDA
  int max_queued_images = 256;
  int64_t max_client_images = 0;                        // 0: seven eighths of all places
  int64_t max_queued_steps = 0;                         // 0: 1000 for each place
  std::shared_ptr<TakenPlaces> taken_places = nullptr;  // shared with the model that this one replaces
  std::string fault;                                    // for tests: faulty_engine.h
  // While another model serves: give way to it where that is possible.
  bool in_background = false;
  std::shared_ptr<const ServingModel> beside = nullptr;  // that one, where it is known
  std::shared_ptr<const AnotherAtWork> another_at_work = nullptr;
  std::function<void(const std::string&)> tell;  // what is being done now, for whoever waits. Null: nobody
  std::function<bool()> give_up;  // asked now and then; once it says true, loading ends with CANCELLED. Null: never
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVICE_SERVING_MODEL_H_
