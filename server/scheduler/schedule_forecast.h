// File: schedule_forecast.h
//
// Plays the scheduler's rule (scheduler.h) forward: when images will start and finish if nothing new comes and nothing
// is dropped.
//
//   ScheduleForecast forecast(/*step_rows=*/4, step_times);
//   forecast.AddWaiting(older, /*first_image=*/3, /*images=*/6);   // of nine, three have begun
//   forecast.AddBegun(older, /*steps_left=*/7);                    // one of the three
//   const int mine = forecast.AddWaiting(turns, 0, 1);
//   std::chrono::nanoseconds until_mine_is_finished = forecast.Follow(mine).duration;
//
// A forecast is used up by Follow or UntilFinished. It costs about a tenth of a microsecond for each image played, of
// which there are kMaxPlayed at most: beyond them it takes the pace so far. It takes for granted that every image finds
// a slot. Not thread-safe.
#ifndef DENOISED_SERVER_SCHEDULER_SCHEDULE_FORECAST_H_
#define DENOISED_SERVER_SCHEDULER_SCHEDULE_FORECAST_H_

#include <chrono>
#include <cstdint>
#include <queue>
#include <vector>

#include "server/scheduler/step_time_model.h"
#include "server/scheduler/turn.h"

namespace denoised {

class ScheduleForecast {
 public:
  static constexpr int kMaxPlayed = 4096;

  // What becomes of one request.
  struct Outlook {
    int64_t images_ahead = 0;             // waiting ones that start before its first
    std::chrono::nanoseconds duration{};  // until its last image; 0 while no step has been measured
  };

  // step_rows: network rows of a step at most. `step_times` outlives the forecast.
  ScheduleForecast(int step_rows, const StepTimeModel& step_times) : step_rows_(step_rows), step_times_(step_times) {}

  // A request's images from first_image on, at least 1, none of which has begun. Returns a number for it.
  int AddWaiting(const Turns& turns, int64_t first_image, int64_t images);

  // An image in the making.
  void AddBegun(const Turns& turns, int steps_left);

  // All that were added.
  int64_t images() const { return images_; }

  // Of a request that AddWaiting has numbered.
  Outlook Follow(int number);

  // Until so many images are finished, whosever they are; at most images().
  std::chrono::nanoseconds UntilFinished(int64_t images);

 private:
  // A request's waiting images, or one image that has begun.
  struct Entry {
    Turns turns;
    int steps = 0;           // that each image still needs
    int64_t next_image = 0;  // of those that wait
    int64_t waiting = 0;
    int64_t running = 0;
    bool begun = false;
  };
  struct Running {
    int64_t last_step = 0;
    int entry = 0;

    friend bool operator>(const Running& a, const Running& b) { return a.last_step > b.last_step; }
  };
  struct Next {
    Turn turn;
    int entry = 0;

    friend bool operator>(const Next& a, const Next& b) { return b.turn < a.turn; }
  };
  template <typename T>
  using SmallestFirst = std::priority_queue<T, std::vector<T>, std::greater<T>>;

  Turn TurnOf(const Entry& entry) const;
  void Begin();
  bool PlayOn();
  void Start();
  void Finish();

  const int step_rows_;
  const StepTimeModel& step_times_;
  int64_t images_ = 0;
  std::vector<Entry> entries_;
  SmallestFirst<Next> next_;
  SmallestFirst<Running> running_;

  int rows_ = 0;
  int timed_rows_ = 0;  // those that step_time_ is for
  std::chrono::nanoseconds step_time_{};
  int64_t step_ = 0;
  int64_t finished_ = 0;
  std::chrono::nanoseconds time_{};
  int followed_ = -1;
  bool followed_started_ = false;
  int64_t images_ahead_ = 0;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SCHEDULER_SCHEDULE_FORECAST_H_
