#include "server/schedule_forecast.h"

namespace denoised {

int ScheduleForecast::AddWaiting(ImageCost image, int64_t images) {
  requests_.push_back({.image = image, .waiting = images});
  images_ += images;
  return static_cast<int>(requests_.size()) - 1;
}

void ScheduleForecast::AddActive(ImageCost rest, int number) {
  active_.push({.last_step = rest.steps, .rows = rest.rows, .number = number});
  rows_ += rest.rows;
  if (number != kNoneWaiting) ++requests_[number].denoising;
  ++images_;
}

ScheduleForecast::Outlook ScheduleForecast::Follow(int number) {
  followed_ = number;
  const Request& request = requests_[number];
  Begin();
  while (request.waiting + request.denoising > 0 && PlayOn()) {
  }
  // NOTE: one that has not finished by then is taken for the last of all.
  const bool over = request.waiting + request.denoising == 0;
  return {.images_ahead = images_ahead_, .duration = over ? time_ : time_ / finished_ * images_};
}

std::chrono::nanoseconds ScheduleForecast::UntilFinished(int64_t images) {
  Begin();
  while (finished_ < images && PlayOn()) {
  }
  return finished_ >= images ? time_ : time_ / finished_ * images;
}

void ScheduleForecast::Begin() {
  for (int number = 0; number < static_cast<int>(requests_.size()); ++number) {
    turns_.emplace(requests_[number].denoising, number);
  }
}

// To the next moment at which images finish. False when it has been played long enough.
bool ScheduleForecast::PlayOn() {
  if (finished_ >= kMaxPlayed) return false;
  Start();
  if (timed_rows_ != rows_) {
    timed_rows_ = rows_;
    step_time_ = step_times_.Estimate(rows_);
  }
  const int64_t step = active_.top().last_step;
  time_ += step_time_ * (step - step_);
  step_ = step;
  Finish();
  return true;
}

// Fills the free rows.
void ScheduleForecast::Start() {
  while (!turns_.empty()) {
    const auto [denoising, number] = turns_.top();
    Request& next = requests_[number];
    const bool current = next.waiting > 0 && next.denoising == denoising;
    if (current && rows_ + next.image.rows > max_batch_rows_) return;
    turns_.pop();
    if (!current) continue;
    active_.push({.last_step = step_ + next.image.steps, .rows = next.image.rows, .number = number});
    rows_ += next.image.rows;
    ++next.denoising;
    if (--next.waiting > 0) turns_.emplace(next.denoising, number);
    followed_started_ = followed_started_ || number == followed_;
    if (!followed_started_) ++images_ahead_;
  }
}

// Takes out what has come to its last step.
void ScheduleForecast::Finish() {
  for (; !active_.empty() && active_.top().last_step == step_; active_.pop()) {
    const Active& image = active_.top();
    rows_ -= image.rows;
    ++finished_;
    if (image.number == kNoneWaiting) continue;
    Request& request = requests_[image.number];
    --request.denoising;
    if (request.waiting > 0) turns_.emplace(request.denoising, image.number);
  }
}

}  // namespace denoised
