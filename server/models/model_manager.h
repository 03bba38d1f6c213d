// File: model_manager.h
//
// Which generation of the model serves: loads the checkpoint, loads it anew when asked or when its file is replaced,
// and goes back to the generation before if the new one fails at once.
//
//   ModelManager models({.model = options}, LoadServingModel, metrics, [&](auto model) { service.SetModel(model); });
//   DENOISED_RETURN_IF_ERROR(models.Start());
//   models.RequestReload("SIGHUP");   // returns at once
//
// The life of a generation, which is an engine with its scheduler:
//
//   file --load--> warm --swap--> on probation ---------> serving --swap--> retiring --last call ends--> gone
//         |                           |                                        ^
//         v error                     v its first steps fail                   |
//      told; the generation        the generation before serves again; this one is retiring
//      that serves goes on
//
// Invariants:
//   1. One load at a time, on a thread of its own, so that whoever asks waits for nothing. Whatever is asked for while
//      one runs is one more load, which begins after the last of those who asked.
//   2. At most two generations are alive, one that is being loaded included: a reload waits for the last call of the
//      one that is retiring. Only those whose engine was lost come on top: while none serves, a load waits for nobody.
//   3. Calls finish on the generation that they began with.
//   4. All generations share one admission: together they hold no more images than one may.
//   5. The memory of a generation that is gone has been given back to the system.
#ifndef DENOISED_SERVER_MODELS_MODEL_MANAGER_H_
#define DENOISED_SERVER_MODELS_MODEL_MANAGER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/support/steady_event.h"
#include "server/metrics/metrics.h"
#include "server/models/checkpoint_watch.h"
#include "server/service/serving_model.h"

namespace denoised {

struct ModelManagerOptions {
  ServingModelOptions model = {};
  std::chrono::nanoseconds watch_interval{};  // between two looks at the checkpoint's file; 0: none
  // A new generation is on probation for so many steps or so long, whichever ends first, or until the next reload.
  int64_t probation_steps = 100;
  std::chrono::nanoseconds probation_time = std::chrono::seconds(10);
};

// Thread-safe, except that Start is called once, before the rest.
class ModelManager {
 public:
  // How a generation comes to be; LoadServingModel of loading/load_serving_model.h, but for tests.
  using Loader =
      std::function<absl::StatusOr<std::shared_ptr<ServingModel>>(const ServingModelOptions&, SchedulerObserver*)>;
  // Makes new calls use this generation.
  using Publish = std::function<void(std::shared_ptr<ServingModel>)>;

  // `metrics` outlives the manager.
  ModelManager(ModelManagerOptions options, Loader load, Metrics& metrics, Publish publish);
  // Stops, and waits for a load that runs.
  ~ModelManager();
  ModelManager(const ModelManager&) = delete;
  ModelManager& operator=(const ModelManager&) = delete;

  // Loads the first generation, on the calling thread. Errors of the loader.
  absl::Status Start();

  // Asks for a reload; `why` is for the log. Returns the load's number, for AwaitReload. After Stop there is none: the
  // number is of a load that will not be.
  int64_t RequestReload(std::string_view why);

  // Waits until that load is over, and says how it ended: the loader's error, or CANCELLED after Stop. OK: it serves,
  // on probation.
  absl::Status AwaitReload(int64_t load);

  // Forgets a generation that hangs, and never destroys it, as that would wait for it. If it is the one that serves,
  // nobody serves until a reload.
  void Disown(std::shared_ptr<ServingModel> hung);

  // Never publishes again a generation whose engine fails: it lives on for its calls alone. If it is the one that
  // serves, nobody serves until a reload.
  void Forget(const std::shared_ptr<ServingModel>& failing);

  // Nothing is published from now on; returns at once.
  void Stop();
  bool stopping() const ABSL_LOCKS_EXCLUDED(mu_);

  // All that are alive, the one that serves first.
  std::vector<std::shared_ptr<ServingModel>> live() const;

 private:
  // On the manager's thread.
  void Run();
  bool AwaitWork();
  bool AwaitRetired();
  void Reload();
  absl::Status LoadAndSwap();
  bool ProvesItself(const ServingModel& model);
  void GoBack();
  void Retire();
  void LookForOthersAtWork() ABSL_LOCKS_EXCLUDED(mu_);
  void DropRetired() ABSL_LOCKS_EXCLUDED(mu_);
  void LookAtFile();
  void ReturnMemory();
  void Finish(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);

  bool interrupted() const ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stop_ || wanted_ > started_; }
  bool alone() const ABSL_SHARED_LOCKS_REQUIRED(mu_);  // none is retiring
  // True if it is to stop or to load again before so long.
  bool InterruptedWithin(std::chrono::nanoseconds duration) ABSL_LOCKS_EXCLUDED(mu_);

  // Do their own locking.
  const std::shared_ptr<AnotherAtWork> another_at_work_;
  SteadyEvent interruption_;

  // Constant after construction.
  const ModelManagerOptions options_;
  const Loader load_;
  Metrics& metrics_;
  const Publish publish_;

  // Of the manager's thread alone, after Start.
  std::optional<CheckpointWatch> watch_;
  std::chrono::steady_clock::time_point next_look_;
  bool memory_to_return_ = false;

  mutable absl::Mutex mu_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  int64_t wanted_ ABSL_GUARDED_BY(mu_) = 0;    // number of the last load asked for,
  int64_t started_ ABSL_GUARDED_BY(mu_) = 0;   // begun,
  int64_t finished_ ABSL_GUARDED_BY(mu_) = 0;  // over
  absl::Status result_ ABSL_GUARDED_BY(mu_);   // of the last one
  std::shared_ptr<ServingModel> serving_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<ServingModel> before_ ABSL_GUARDED_BY(mu_);  // while the one that serves is on probation
  // Until the manager's thread finds that nobody has them and that they are idle: whoever destroys a generation waits
  // for its last step, and one that hangs without calls is yet to be found.
  std::vector<std::shared_ptr<ServingModel>> retiring_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;  // NOTE: last, so that it begins after what it uses
};

}  // namespace denoised

#endif  // DENOISED_SERVER_MODELS_MODEL_MANAGER_H_
