#include "client/terminal/step_counter.h"

#include <algorithm>

namespace denoised {

StepCounter::StepCounter(int calls, uint32_t images, uint32_t steps)
    : steps_(steps), done_(static_cast<size_t>(calls), std::vector<uint32_t>(images)) {}

void StepCounter::Set(int call, uint32_t image, uint32_t step) {
  if (image < done_[call].size()) done_[call][image] = std::min(step, steps_);
}

uint32_t StepCounter::step(int call, uint32_t image) const {
  return image < done_[call].size() ? done_[call][image] : 0;
}

double StepCounter::fraction() const {
  uint64_t done = 0;
  for (const std::vector<uint32_t>& images : done_) {
    for (const uint32_t steps : images) done += steps;
  }
  const uint64_t total = uint64_t{steps_} * done_.size() * done_[0].size();
  return static_cast<double>(done) / static_cast<double>(std::max<uint64_t>(1, total));
}

double StepCounter::SecondsLeft(double seconds_so_far) const {
  const double done = fraction();
  return done <= 0 ? -1 : seconds_so_far * (1 - done) / done;
}

}  // namespace denoised
