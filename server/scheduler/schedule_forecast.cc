#include "server/scheduler/schedule_forecast.h"

namespace denoised {

int ScheduleForecast::AddWaiting(const Turns& turns, int64_t first_image, int64_t images) {
  entries_.push_back({.turns = turns, .steps = turns.steps, .next_image = first_image, .waiting = images});
  images_ += images;
  return static_cast<int>(entries_.size()) - 1;
}

void ScheduleForecast::AddBegun(const Turns& turns, int steps_left) {
  entries_.push_back({.turns = turns, .steps = steps_left, .waiting = 1, .begun = true});
  ++images_;
}

ScheduleForecast::Outlook ScheduleForecast::Follow(int number) {
  followed_ = number;
  const Entry& entry = entries_[number];
  Begin();
  while (entry.waiting + entry.running > 0 && PlayOn()) {
  }
  // NOTE: one that has not finished by then is taken for the last of all.
  const bool over = entry.waiting + entry.running == 0;
  return {.images_ahead = images_ahead_, .duration = over ? time_ : time_ / finished_ * images_};
}

std::chrono::nanoseconds ScheduleForecast::UntilFinished(int64_t images) {
  Begin();
  while (finished_ < images && PlayOn()) {
  }
  return finished_ >= images ? time_ : time_ / finished_ * images;
}

Turn ScheduleForecast::TurnOf(const Entry& entry) const {
  return entry.begun ? entry.turns.Begun(entry.steps) : entry.turns.Waiting(entry.next_image, step_rows_);
}

void ScheduleForecast::Begin() {
  for (int i = 0; i < static_cast<int>(entries_.size()); ++i) next_.push({.turn = TurnOf(entries_[i]), .entry = i});
}

// To the next moment at which images finish. False when it has been played long enough.
bool ScheduleForecast::PlayOn() {
  if (finished_ >= kMaxPlayed) return false;
  Start();
  if (timed_rows_ != rows_) {
    timed_rows_ = rows_;
    step_time_ = step_times_.Estimate(rows_);
  }
  const int64_t step = running_.top().last_step;
  time_ += step_time_ * (step - step_);
  step_ = step;
  Finish();
  return true;
}

// Fills the free rows. Whoever runs stays ahead of those who do not: its turn comes nearer with each step.
void ScheduleForecast::Start() {
  while (!next_.empty()) {
    const int index = next_.top().entry;
    Entry& entry = entries_[index];
    if (rows_ + entry.turns.rows > step_rows_) return;
    next_.pop();
    running_.push({.last_step = step_ + entry.steps, .entry = index});
    rows_ += entry.turns.rows;
    ++entry.running;
    ++entry.next_image;
    followed_started_ = followed_started_ || index == followed_;
    if (!followed_started_ && !entry.begun) ++images_ahead_;
    if (--entry.waiting > 0) next_.push({.turn = TurnOf(entry), .entry = index});
  }
}

// Takes out what has come to its last step.
void ScheduleForecast::Finish() {
  for (; !running_.empty() && running_.top().last_step == step_; running_.pop()) {
    Entry& entry = entries_[running_.top().entry];
    rows_ -= entry.turns.rows;
    --entry.running;
    ++finished_;
  }
}

}  // namespace denoised
