// File: engine.h
//
// What runs denoising steps: the seam between the scheduler, which knows neither tensors nor devices, and LibTorch.
//
// An engine holds one image in the making per slot. Each call of Step advances some of them by one row of their plans:
//
//   std::vector<StepRow> rows = {{.slot = 0, .plan = &plan, .step = 0, .label = 7, .seed = 42}};
//   for (; rows[0].step < plan.size(); ++rows[0].step) DENOISED_RETURN_IF_ERROR(engine.Step(rows));
//   float pixels[kModelPixels];
//   DENOISED_RETURN_IF_ERROR(engine.Read(0, FrameKind::kNoisy, pixels));   // the finished image
//
// An image depends on its own rows only: not on the slot, nor on what else is in the batch, on one machine and device
// (engines say where they promise less).
#ifndef DENOISED_COMMON_DIFFUSION_ENGINE_H_
#define DENOISED_COMMON_DIFFUSION_ENGINE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/diffusion/step_plan.h"

namespace denoised {

// One image's next step.
struct StepRow {
  int slot = 0;                    // 0 to num_slots()-1, each at most once per call
  const StepPlan* plan = nullptr;  // not owned; outlives the call
  int step = 0;                    // row of the plan; 0 first fills the slot with the initial noise
  int label = 0;                   // class
  float guidance_scale = 1;        // 1 is off; otherwise the row costs two network rows
  uint64_t seed = 0;               // noise is FillNoise({seed, image_index, step + 1})
  uint32_t image_index = 0;
};

// Rows of the network that a step of this image takes.
inline int NetworkRows(const StepRow& row) { return row.guidance_scale == 1 ? 1 : 2; }

// Of all these together.
inline int NetworkRows(absl::Span<const StepRow> rows) {
  int total = 0;
  for (const StepRow& row : rows) total += NetworkRows(row);
  return total;
}

// Whether another model of this process is being loaded, or one that was replaced still draws: times are not to be had
// then, and cores not for oneself.
using AnotherAtWork = std::atomic<bool>;

// Null is never.
inline bool IsAtWork(const std::shared_ptr<const AnotherAtWork>& another) { return another != nullptr && *another; }

enum class FrameKind {
  kNoisy,           // x: the image as it is after the last step; the finished image after the last row of a plan
  kPredictedClean,  // x0: the clean image that the last step predicted
};

// What Read is asked for.
struct WantedFrame {
  int slot = 0;
  FrameKind kind = FrameKind::kNoisy;
};

// Not thread-safe: one thread at a time, always the same one, calls Step, Prefetch, Read and ChooseAgain.
class Engine {
 public:
  virtual ~Engine() = default;

  // Images that can be in the making at once.
  virtual int num_slots() const = 0;

  // Advances every row by one step. On an error (INTERNAL, with a reason fit for a log) StepsDone tells what became of
  // each row; other slots and later calls are not affected.
  virtual absl::Status Step(absl::Span<const StepRow> rows) = 0;

  // Advances every row by `count` steps, at least 1 and no more than the rows have left, as so many calls of Step
  // would, to the last bit. Errors are Step's: of one step that fails, all are gone.
  virtual absl::Status Steps(absl::Span<const StepRow> rows, int count) {
    std::vector<StepRow> next(rows.begin(), rows.end());
    for (int i = 0; i < count; ++i) {
      if (absl::Status status = Step(next); !status.ok()) return status;
      for (StepRow& row : next) ++row.step;
    }
    return absl::OkStatus();
  }

  // How many steps of so many network rows it is worth asking Steps for: more than 1 where a call costs something by
  // itself. They take about a millisecond at most.
  virtual int StepsAtOnce(int /*network_rows*/) const { return 1; }

  // Steps that the image in this slot has undergone, after a call of Step or Steps that failed: those of its row, which
  // can then be tried again; or as many more as it was to be advanced by, as if the call had succeeded; or kLost.
  static constexpr int kLost = -1;
  virtual int StepsDone(int /*slot*/) const { return kLost; }

  // Whether the image in this slot was made of finite numbers by its last step, where an engine knows before Read.
  virtual bool Finite(int /*slot*/) const { return true; }

  // Says which frames Read will be asked for before the next step, so that an engine whose images lie elsewhere brings
  // them here all at once. What fails is told by Read, which gives other frames too.
  virtual void Prefetch(absl::Span<const WantedFrame> /*frames*/) {}

  // Copies a slot's kModelPixels pixels, nominally in [-1, 1]. INTERNAL when they are not finite numbers.
  virtual absl::Status Read(int slot, FrameKind kind, absl::Span<float> pixels) = 0;

  // Network rows that a step computes when it wants `rows` of them: more where batch sizes are padded.
  virtual int ComputedRows(int rows) const { return rows; }

  // Makes the choices that rest on times anew, for a pause: what steps compute stays the same to the last bit. Ends,
  // and leaves everything as it was, once `give_up` says so, which is asked again and again. Whether steps take other
  // times now.
  virtual bool ChooseAgain(const std::function<bool()>& /*give_up*/) { return false; }

  // What it runs on and how it made up its mind, for people to read; may be empty. Any thread may ask.
  virtual std::string Description() const { return ""; }

  // Seconds spent inside the network so far, of the wall clock of the thread that calls Step.
  virtual double network_seconds() const { return 0; }
};

}  // namespace denoised

#endif  // DENOISED_COMMON_DIFFUSION_ENGINE_H_
