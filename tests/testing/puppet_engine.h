// File: puppet_engine.h
//
// An engine that does what a test tells it to: counts steps instead of running a network, moves a fake clock, fails or
// waits on demand, and writes down every batch.
//
// A slot's pixels are all the same value: PuppetPixel(label, seed, image_index, steps done), so that a test can tell
// whose image it got, and whether it was finished.
#ifndef DENOISED_TESTS_TESTING_PUPPET_ENGINE_H_
#define DENOISED_TESTS_TESTING_PUPPET_ENGINE_H_

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/diffusion/engine.h"
#include "server/scheduler/scheduler.h"

namespace denoised {

inline float PuppetPixel(int label, uint64_t seed, uint32_t image_index, int steps_done) {
  const uint64_t mixed =
      (static_cast<uint64_t>(label) * 31 + seed * 17 + image_index * 7 + static_cast<uint64_t>(steps_done)) % 251;
  return static_cast<float>(mixed) / 125.0f - 1.0f;
}

// Whether this is the step by which the scheduler tries the engine, of no request. Plans of tests have another clamp.
inline bool IsTrial(const StepRow& row) { return std::isinf((*row.plan)[row.step].hi); }

class FakeClock {
 public:
  SteadyTime now() const {
    const absl::MutexLock lock(&mu_);
    return now_;
  }
  void Advance(std::chrono::nanoseconds duration) {
    const absl::MutexLock lock(&mu_);
    now_ += duration;
  }

 private:
  mutable absl::Mutex mu_;
  SteadyTime now_ ABSL_GUARDED_BY(mu_) = SteadyTime(std::chrono::hours(1));
};

class PuppetEngine : public Engine {
 public:
  explicit PuppetEngine(int num_slots)
      : num_slots_(num_slots), values_(num_slots), clean_(num_slots), steps_done_(num_slots), not_finite_(num_slots) {}

  int num_slots() const override { return num_slots_; }
  std::string Description() const override { return "a puppet"; }

  bool ChooseAgain(const std::function<bool()>& give_up) override {
    return choose_again_ != nullptr && choose_again_(give_up);
  }

  absl::Status Step(absl::Span<const StepRow> rows) override {
    WaitForPermission();
    const absl::MutexLock lock(&mu_);
    ++steps_;
    announced_.clear();
    if (keeps_batches_) batches_.emplace_back(rows.begin(), rows.end());
    if (clock_ != nullptr) clock_->Advance(step_time_(NetworkRows(rows)));
    for (const StepRow& row : rows) steps_done_[row.slot] = row.step;
    if (!next_error_.ok()) return Failure(std::exchange(next_error_, absl::OkStatus()));
    if (!every_error_.ok()) return Failure(every_error_);
    for (const StepRow& row : rows) {
      if (row.seed == poisonous_seed_) return Failure(absl::InternalError("the puppet chokes on this row"));
    }
    for (const StepRow& row : rows) {
      steps_done_[row.slot] = row.step + 1;
      not_finite_[row.slot] = nothing_finite_ || row.seed == not_finite_seed_;
      values_[row.slot] = PuppetPixel(row.label, row.seed, row.image_index, row.step + 1);
      clean_[row.slot] = -values_[row.slot];
    }
    return absl::OkStatus();
  }

  absl::Status Steps(absl::Span<const StepRow> rows, int count) override {
    {
      const absl::MutexLock lock(&mu_);
      counts_.push_back(count);
    }
    return Engine::Steps(rows, count);
  }

  int StepsAtOnce(int /*network_rows*/) const override {
    const absl::MutexLock lock(&mu_);
    return steps_at_once_;
  }

  int StepsDone(int slot) const override {
    const absl::MutexLock lock(&mu_);
    return forgetful_ ? kLost : steps_done_[slot];
  }

  bool Finite(int slot) const override {
    const absl::MutexLock lock(&mu_);
    return !not_finite_[slot];
  }

  void Prefetch(absl::Span<const WantedFrame> frames) override {
    const absl::MutexLock lock(&mu_);
    announced_.assign(frames.begin(), frames.end());
  }

  absl::Status Read(int slot, FrameKind kind, absl::Span<float> pixels) override {
    const absl::MutexLock lock(&mu_);
    ++reads_;
    if (slot == unreadable_slot_) return Failure(absl::InternalError("the puppet cannot read this slot"));
    if (!read_error_.ok()) return Failure(read_error_);
    std::fill(pixels.begin(), pixels.end(), kind == FrameKind::kNoisy ? values_[slot] : clean_[slot]);
    if (noisy_) {
      for (float& pixel : pixels) pixel = std::uniform_real_distribution<float>(-1.0f, 1.0f)(noise_);
    }
    return absl::OkStatus();
  }

  // Each step takes this long on this clock, or as long as a function of its network rows says.
  void SetStepTime(FakeClock* clock, std::chrono::nanoseconds step_time) {
    SetStepTime(clock, [step_time](int) { return step_time; });
  }
  void SetStepTime(FakeClock* clock, std::function<std::chrono::nanoseconds(int)> step_time) {
    const absl::MutexLock lock(&mu_);
    clock_ = clock;
    step_time_ = std::move(step_time);
  }
  // What ChooseAgain shall do. Before there is a thread that calls it.
  void SetChooseAgain(std::function<bool(const std::function<bool()>&)> choose_again) {
    choose_again_ = std::move(choose_again);
  }
  // So many steps are worth asking for at once.
  void SetStepsAtOnce(int steps) {
    const absl::MutexLock lock(&mu_);
    steps_at_once_ = steps;
  }
  // The next Step fails.
  void FailNextStep(absl::Status error) {
    const absl::MutexLock lock(&mu_);
    next_error_ = std::move(error);
  }
  // From now on, every Step fails; OK ends it.
  void FailEveryStep(absl::Status error) {
    const absl::MutexLock lock(&mu_);
    every_error_ = std::move(error);
  }
  // Steps fail that have a row with this seed.
  void Poison(uint64_t seed) {
    const absl::MutexLock lock(&mu_);
    poisonous_seed_ = seed;
  }
  // Images with this seed are not finite after any step.
  void MakeNotFinite(uint64_t seed) {
    const absl::MutexLock lock(&mu_);
    not_finite_seed_ = seed;
  }
  // From now on, images are not finite after any step, whatever their seed; false ends it.
  void MakeNothingFinite(bool nothing_finite = true) {
    const absl::MutexLock lock(&mu_);
    nothing_finite_ = nothing_finite;
  }
  // From now on, every Read fails; OK ends it.
  void FailEveryRead(absl::Status error) {
    const absl::MutexLock lock(&mu_);
    read_error_ = std::move(error);
  }
  // From now on, whatever fails throws its error's message instead.
  void ThrowErrors() {
    const absl::MutexLock lock(&mu_);
    throws_ = true;
  }
  // From now on, nobody knows what a failed step has done.
  void ForgetStepsDone() {
    const absl::MutexLock lock(&mu_);
    forgetful_ = true;
  }
  // From now on, pixels are noise, whose PNGs are big.
  void DrawNoise() {
    const absl::MutexLock lock(&mu_);
    noisy_ = true;
  }
  void MakeUnreadable(int slot) {
    const absl::MutexLock lock(&mu_);
    unreadable_slot_ = slot;
  }
  // From now on, Step waits until it is allowed by AllowSteps.
  void HoldSteps() {
    const absl::MutexLock lock(&mu_);
    held_ = true;
    allowed_ = 0;
  }
  void AllowSteps(int64_t steps) {
    const absl::MutexLock lock(&mu_);
    allowed_ += steps;
  }
  // Blocks until all allowed steps have been run and the next one waits.
  void WaitForHeldStep() {
    const absl::MutexLock lock(&mu_);
    const auto waits = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return step_waits_ && allowed_ == 0; };
    mu_.Await(absl::Condition(&waits));
  }
  void LetGo() {
    const absl::MutexLock lock(&mu_);
    held_ = false;
  }

  std::vector<std::vector<StepRow>> batches() const {
    const absl::MutexLock lock(&mu_);
    return batches_;
  }
  // From now on, batches are not written down: for tests of very many steps.
  void KeepNoBatches() {
    const absl::MutexLock lock(&mu_);
    keeps_batches_ = false;
  }
  // What calls of Steps asked for so far.
  std::vector<int> counts() const {
    const absl::MutexLock lock(&mu_);
    return counts_;
  }
  // Calls of Step so far.
  int64_t steps() const {
    const absl::MutexLock lock(&mu_);
    return steps_;
  }
  // What will be read after the last step, as Prefetch said.
  std::vector<WantedFrame> announced() const {
    const absl::MutexLock lock(&mu_);
    return announced_;
  }
  // Calls of Read so far.
  int64_t reads() const {
    const absl::MutexLock lock(&mu_);
    return reads_;
  }
  void ForgetBatches() {
    const absl::MutexLock lock(&mu_);
    batches_.clear();
  }

 private:
  static constexpr uint64_t kNobodysSeed = 0xDEAD0BEEF;

  absl::Status Failure(absl::Status error) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (throws_) throw std::runtime_error(std::string(error.message()));
    return error;
  }

  void WaitForPermission() {
    const absl::MutexLock lock(&mu_);
    const auto free = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !held_ || allowed_ > 0; };
    step_waits_ = true;
    mu_.Await(absl::Condition(&free));
    step_waits_ = false;
    if (held_) --allowed_;
  }

  const int num_slots_;
  std::function<bool(const std::function<bool()>&)> choose_again_;

  mutable absl::Mutex mu_;
  std::vector<float> values_ ABSL_GUARDED_BY(mu_);
  std::vector<float> clean_ ABSL_GUARDED_BY(mu_);
  std::vector<std::vector<StepRow>> batches_ ABSL_GUARDED_BY(mu_);
  std::vector<int> steps_done_ ABSL_GUARDED_BY(mu_);
  std::vector<bool> not_finite_ ABSL_GUARDED_BY(mu_);
  absl::Status next_error_ ABSL_GUARDED_BY(mu_);
  absl::Status every_error_ ABSL_GUARDED_BY(mu_);
  uint64_t poisonous_seed_ ABSL_GUARDED_BY(mu_) = kNobodysSeed;
  uint64_t not_finite_seed_ ABSL_GUARDED_BY(mu_) = kNobodysSeed;
  bool nothing_finite_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status read_error_ ABSL_GUARDED_BY(mu_);
  bool throws_ ABSL_GUARDED_BY(mu_) = false;
  bool forgetful_ ABSL_GUARDED_BY(mu_) = false;
  bool keeps_batches_ ABSL_GUARDED_BY(mu_) = true;
  int steps_at_once_ ABSL_GUARDED_BY(mu_) = 1;
  std::vector<int> counts_ ABSL_GUARDED_BY(mu_);
  int64_t steps_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t reads_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<WantedFrame> announced_ ABSL_GUARDED_BY(mu_);
  int unreadable_slot_ ABSL_GUARDED_BY(mu_) = -1;
  bool noisy_ ABSL_GUARDED_BY(mu_) = false;
  std::minstd_rand noise_ ABSL_GUARDED_BY(mu_);
  FakeClock* clock_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::function<std::chrono::nanoseconds(int)> step_time_ ABSL_GUARDED_BY(mu_);
  bool held_ ABSL_GUARDED_BY(mu_) = false;
  int64_t allowed_ ABSL_GUARDED_BY(mu_) = 0;
  bool step_waits_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_PUPPET_ENGINE_H_
