// File: image_state.h
//
// The images in the making, in host memory, for engines that keep them there: x and x0 of the formula in step_plan.h.
//
// Thread-safe for distinct slots.
#ifndef DENOISED_COMMON_DIFFUSION_IMAGE_STATE_H_
#define DENOISED_COMMON_DIFFUSION_IMAGE_STATE_H_

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/diffusion/engine.h"
#include "common/diffusion/noise.h"
#include "common/diffusion/row_update.h"
#include "common/image/image.h"

namespace denoised {

// INTERNAL unless all are finite numbers.
inline absl::Status CheckFinite(absl::Span<const float> pixels) {
  if (std::all_of(pixels.begin(), pixels.end(), [](float v) { return std::isfinite(v); })) return absl::OkStatus();
  return absl::InternalError("the network produced values that are not finite numbers");
}

class ImageState {
 public:
  explicit ImageState(int num_slots)
      : x_(static_cast<size_t>(num_slots) * kModelPixels), x0_(x_.size()), steps_done_(num_slots), finite_(num_slots) {}

  float* x(int slot) { return x_.data() + static_cast<size_t>(slot) * kModelPixels; }
  float* x0(int slot) { return x0_.data() + static_cast<size_t>(slot) * kModelPixels; }

  // Before a step, for each of its rows: nothing of it is done yet.
  void Announce(absl::Span<const StepRow> rows) {
    for (const StepRow& row : rows) steps_done_[static_cast<size_t>(row.slot)] = row.step;
  }
  int steps_done(int slot) const { return steps_done_[static_cast<size_t>(slot)]; }
  bool finite(int slot) const { return finite_[static_cast<size_t>(slot)] != 0; }

  // Before the first step of a chain.
  void Start(const StepRow& row) {
    FillNoise({.seed = row.seed, .image_index = row.image_index, .stream = kInitialNoise}, {x(row.slot), kModelPixels});
    std::fill_n(x0(row.slot), kModelPixels, 0.0f);
  }

  // After the network's output e [kModelPixels] is known.
  void Update(const StepRow& row, const float* e) {
    const StepCoefficients& coefficients = (*row.plan)[row.step];
    float z[kModelPixels];
    const bool noisy = coefficients.d != 0;
    if (noisy) {
      const uint32_t stream = static_cast<uint32_t>(row.step) + 1;
      FillNoise({.seed = row.seed, .image_index = row.image_index, .stream = stream}, z);
    }
    UpdateRow(coefficients, e, noisy ? z : nullptr, kModelPixels, x(row.slot), x0(row.slot));
    finite_[static_cast<size_t>(row.slot)] = AllFinite(x(row.slot), kModelPixels);
    steps_done_[static_cast<size_t>(row.slot)] = row.step + 1;
  }

  // INTERNAL when the pixels are not finite numbers.
  absl::Status Read(int slot, FrameKind kind, absl::Span<float> pixels) {
    const float* from = kind == FrameKind::kNoisy ? x(slot) : x0(slot);
    std::copy_n(from, kModelPixels, pixels.begin());
    return CheckFinite(pixels);
  }

 private:
  std::vector<float> x_, x0_;  // [slots, kModelPixels]
  std::vector<int> steps_done_;
  std::vector<uint8_t> finite_;
};

// e = null + scale * (label - null), for kModelPixels pixels; `e` holds the label's output on entry.
inline void Guide(float scale, const float* null_output, float* e) {
  for (int i = 0; i < kModelPixels; ++i) e[i] = null_output[i] + scale * (e[i] - null_output[i]);
}

}  // namespace denoised

#endif  // DENOISED_COMMON_DIFFUSION_IMAGE_STATE_H_
