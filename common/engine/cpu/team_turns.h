// File: team_turns.h
//
// Whether a team of threads still is the faster way for steps of few rows. Its threads wait for each other, so that a
// neighbour on one of their cores makes each of its steps wait for that core; whoever computes alone hardly notices.
//
//   TeamTurns turns;
//   const bool team = turns.TeamIsNext();
//   ... turns.Took(seconds);                // what the step has taken, per row
//
// The way that was faster of late is taken. The other one gets a few steps now and then, soon where steps have become
// slow, to see. What both compute is the same, so only time is at stake.
//
// Thread-compatible.
#ifndef DENOISED_COMMON_ENGINE_CPU_TEAM_TURNS_H_
#define DENOISED_COMMON_ENGINE_CPU_TEAM_TURNS_H_

#include <algorithm>
#include <limits>
#include <utility>

namespace denoised {

class TeamTurns {
 public:
  // Which way the next step is to go; the same until Took is called.
  bool TeamIsNext() const { return tries_left_ > 0 ? !prefers_team_ : prefers_team_; }

  // `seconds` a row, of wall clock, more than 0: of the step that went that way.
  void Took(double seconds) {
    if (tries_left_ > 0) return Try(seconds);
    mean_ = steps_ == 0 ? seconds : mean_ + (seconds - mean_) / kMemory;
    if (++steps_ >= kMemory) best_ = std::min(best_, mean_);
    const bool was_slow = std::exchange(slow_, prefers_team_ && mean_ > kSlow * best_);
    if (slow_ && !was_slow) wait_ = kSoon;
    // A neighbour that has just come may keep a team waiting for several steps' time at each of its barriers.
    const bool stuck = prefers_team_ && seconds > kStuck * best_;
    if (++steps_since_try_ >= (stuck ? kSoon : wait_)) tries_left_ = kTries;
  }

 private:
  static constexpr int kMemory = 8;     // steps, of the running mean
  static constexpr int kTries = 8;      // steps of the other way at a time
  static constexpr int kUncounted = 2;  // of these, as caches are cold and threads asleep
  // Steps until the other way is tried. Where that was in vain, twice as many as before.
  static constexpr int kSoon = 8, kOften = 128, kRarely = 4096;
  static constexpr double kSlow = 1.5;    // times what was the fastest
  static constexpr double kFaster = 0.8;  // of the time: the other way is taken then
  static constexpr double kHopeless = 3;  // times: a single step ends the try
  // Times: a single step of the team that takes so many times its best begins a try, and one of a try that takes so
  // many times the mean ends it, even if it does not count.
  static constexpr double kStuck = 10;

  void Try(double seconds) {
    --tries_left_;
    const bool counts = tries_left_ < kTries - kUncounted;
    if (counts) tried_ += seconds;
    const bool hopeless = seconds > (counts ? kHopeless : kStuck) * mean_;
    if (tries_left_ > 0 && !hopeless) return;
    const double other = tried_ / (kTries - kUncounted);
    tries_left_ = 0;
    tried_ = 0;
    steps_since_try_ = 0;
    wait_ = std::min(2 * wait_, kRarely);
    if (hopeless || other >= kFaster * mean_) return;
    prefers_team_ = !prefers_team_;
    wait_ = prefers_team_ ? kRarely : kOften;
    mean_ = other;
    steps_ = 1;
    best_ = std::numeric_limits<double>::infinity();
  }

  bool prefers_team_ = true;
  int tries_left_ = 0;  // more than 0: the other way is being tried
  double tried_ = 0;    // seconds, of the tries that count so far
  int steps_since_try_ = 0;
  int wait_ = kRarely;                                     // steps until the next try
  int steps_ = 0;                                          // of the preferred way
  double mean_ = 0;                                        // seconds of its steps, of late
  bool slow_ = false;                                      // whether the team's have become so
  double best_ = std::numeric_limits<double>::infinity();  // lowest mean
};

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_CPU_TEAM_TURNS_H_
