// File: gathered_frames.h
//
// Which frames of the last step have been brought to the host together, and where they lie there: what an engine's
// Prefetch brings, for its Read to find. Codes are those of slots below num_slots. Thread-compatible.
#ifndef DENOISED_COMMON_ENGINE_CUDA_GATHERED_FRAMES_H_
#define DENOISED_COMMON_ENGINE_CUDA_GATHERED_FRAMES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/diffusion/engine.h"

namespace denoised::cuda_step {

// As GatherFrame of cuda_step.h numbers it.
inline int32_t FrameCode(const WantedFrame& frame) {
  return 2 * frame.slot + (frame.kind == FrameKind::kNoisy ? 0 : 1);
}

class GatheredFrames {
 public:
  explicit GatheredFrames(int num_slots) : places_(MostFrames(num_slots), kNowhere) {}

  // That there can be at once.
  static size_t MostFrames(int num_slots) { return 2 * static_cast<size_t>(num_slots); }

  // Before a step: none is here any more.
  void Forget() { std::fill(places_.begin(), places_.end(), kNowhere); }
  // The frame lies at `place` now, counted in frames.
  void Put(int32_t code, int place) { places_[static_cast<size_t>(code)] = place; }
  std::optional<int> Find(int32_t code) const {
    const int place = places_[static_cast<size_t>(code)];
    return place == kNowhere ? std::nullopt : std::optional(place);
  }

 private:
  static constexpr int kNowhere = -1;
  std::vector<int> places_;  // by code
};

}  // namespace denoised::cuda_step

#endif  // DENOISED_COMMON_ENGINE_CUDA_GATHERED_FRAMES_H_
