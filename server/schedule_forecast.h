// File: schedule_forecast.h
//
// Plays the scheduler's rule (scheduler.h) forward: when images will start and finish if nothing new comes and nothing
// is dropped.
//
//   ScheduleForecast forecast(/*max_batch_rows=*/4, step_times);
//   const int older = forecast.AddWaiting({.rows = 1, .steps = 20}, /*images=*/6);
//   forecast.AddActive({.rows = 1, .steps = 7}, older);   // one more image of it, 13 of its 20 steps done
//   const int mine = forecast.AddWaiting({.rows = 1, .steps = 50}, /*images=*/1);
//   std::chrono::nanoseconds until_mine_is_finished = forecast.Follow(mine).duration;
//
// A forecast is used up by Follow or UntilFinished. It costs about a tenth of a microsecond for each image played, of
// which there are kMaxPlayed at most: beyond them it takes the pace so far. Not thread-safe.
#ifndef DENOISED_SERVER_SCHEDULE_FORECAST_H_
#define DENOISED_SERVER_SCHEDULE_FORECAST_H_

#include <chrono>
#include <cstdint>
#include <queue>
#include <utility>
#include <vector>

#include "server/step_time_model.h"

namespace denoised {

class ScheduleForecast {
 public:
  static constexpr int kMaxPlayed = 4096;
  static constexpr int kNoneWaiting = -1;

  // What one image still needs.
  struct ImageCost {
    int rows = 1;   // network rows in each step, at most max_batch_rows
    int steps = 1;  // at least 1
  };

  // What becomes of one request.
  struct Outlook {
    int64_t images_ahead = 0;             // waiting ones that start before its first
    std::chrono::nanoseconds duration{};  // until its last image; 0 while no step has been measured
  };

  // `step_times` outlives the forecast.
  ScheduleForecast(int max_batch_rows, const StepTimeModel& step_times)
      : max_batch_rows_(max_batch_rows), step_times_(step_times) {}

  // A request's images, at least 1, that have not started; the oldest request first. Returns its number.
  int AddWaiting(ImageCost image, int64_t images);

  // An image in the making, of the waiting request with this number, or of one that has kNoneWaiting.
  void AddActive(ImageCost rest, int number);

  // All that were added.
  int64_t images() const { return images_; }

  Outlook Follow(int number);

  // Until so many images are finished, whosever they are; at most images().
  std::chrono::nanoseconds UntilFinished(int64_t images);

 private:
  struct Request {
    ImageCost image;
    int64_t waiting = 0;
    int64_t denoising = 0;
  };
  struct Active {
    int64_t last_step = 0;
    int rows = 0;
    int number = kNoneWaiting;

    friend bool operator>(const Active& a, const Active& b) { return a.last_step > b.last_step; }
  };
  // Images in the making, then number: the smallest goes next. Out of date once the former has changed.
  using Turn = std::pair<int64_t, int>;
  template <typename T>
  using SmallestFirst = std::priority_queue<T, std::vector<T>, std::greater<T>>;

  void Begin();
  bool PlayOn();
  void Start();
  void Finish();

  const int max_batch_rows_;
  const StepTimeModel& step_times_;
  int64_t images_ = 0;
  std::vector<Request> requests_;  // by number
  SmallestFirst<Active> active_;
  SmallestFirst<Turn> turns_;

  int rows_ = 0;
  int timed_rows_ = 0;  // those that step_time_ is for
  std::chrono::nanoseconds step_time_{};
  int64_t step_ = 0;
  int64_t finished_ = 0;
  std::chrono::nanoseconds time_{};
  int followed_ = kNoneWaiting;
  bool followed_started_ = false;
  int64_t images_ahead_ = 0;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SCHEDULE_FORECAST_H_
