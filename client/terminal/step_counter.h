// File: step_counter.h
//
// Denoising steps done of all images of several calls, for the progress line.
//
//   StepCounter counter(/*calls=*/1, /*images=*/3, /*steps=*/1000);
//   counter.Set(0, preview.image_index(), preview.step());
//   double share = counter.fraction();
//
// Calls and images count from 0. Images out of range are ignored, and steps are clamped: they come from the server.
// Thread-compatible.
#ifndef DENOISED_CLIENT_TERMINAL_STEP_COUNTER_H_
#define DENOISED_CLIENT_TERMINAL_STEP_COUNTER_H_

#include <cstdint>
#include <vector>

namespace denoised {

class StepCounter {
 public:
  // `calls`: 1 or more, of so many images each. `steps`: of one image.
  StepCounter(int calls, uint32_t images, uint32_t steps);

  // Once the server has said how many they are.
  void SetSteps(uint32_t steps) { steps_ = steps; }
  // How many steps an image has behind it.
  void Set(int call, uint32_t image, uint32_t step);
  void Finish(int call, uint32_t image) { Set(call, image, steps_); }

  uint32_t steps() const { return steps_; }
  uint32_t step(int call, uint32_t image) const;
  // Of all steps of all images, 0 to 1.
  double fraction() const;
  // If the rest goes on like the seconds so far; negative: not known yet.
  double SecondsLeft(double seconds_so_far) const;

 private:
  uint32_t steps_;
  std::vector<std::vector<uint32_t>> done_;  // by call, then by image
};

}  // namespace denoised

#endif  // DENOISED_CLIENT_TERMINAL_STEP_COUNTER_H_
