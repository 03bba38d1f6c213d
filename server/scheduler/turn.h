// File: turn.h
//
// Who goes first. Every image has a turn, the moment by which it would be finished if all that it still needs took
// kPatience times as long as on an idle server; the images with the earliest turns make up each step. So those that
// need little go before those that need much, which costs the latter little, and whoever waits goes before newcomers in
// the end. Of equal images the first come are served first, and the images of a big request, which have their turns in
// rounds, let others in between.
//
// Pure and thread-safe.
#ifndef DENOISED_SERVER_SCHEDULER_TURN_H_
#define DENOISED_SERVER_SCHEDULER_TURN_H_

#include <cstdint>
#include <tuple>

namespace denoised {

inline constexpr double kPatience = 8;

struct Turn {
  double seconds = 0;
  int64_t request = 0;   // those that came earlier first
  bool waiting = false;  // images that have begun first
  int64_t image = 0;     // of those that have begun, the lower index first

  friend bool operator<(const Turn& a, const Turn& b) {
    return std::tie(a.seconds, a.request, a.waiting, a.image) < std::tie(b.seconds, b.request, b.waiting, b.image);
  }
};

// The turns of a request's images.
struct Turns {
  double submitted = 0;     // seconds, by one clock for all requests
  double step_seconds = 0;  // of a step of one of its images alone
  int steps = 1;            // of each image
  int rows = 1;             // network rows in each
  int64_t request = 0;      // how many came before

  // Of an image in the making that has so many steps left.
  Turn Begun(int steps_left, int64_t image = 0) const {
    return {.seconds = submitted + kPatience * step_seconds * steps_left, .request = request, .image = image};
  }

  // As many images as fit into a step's rows are a round. The round, from 0, of the image with this index.
  int64_t Round(int64_t image, int step_rows) const { return image * rows / step_rows; }

  // Of an image that has not begun; all of a round have the same.
  Turn Waiting(int64_t image, int step_rows) const {
    const double rounds = static_cast<double>(1 + Round(image, step_rows));
    return {.seconds = submitted + kPatience * step_seconds * steps * rounds, .request = request, .waiting = true};
  }
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SCHEDULER_TURN_H_
