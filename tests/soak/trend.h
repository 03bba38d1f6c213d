// File: trend.h
//
// A straight line through points, by least squares: whether something grows.
//
//   Trend memory;
//   memory.Add(seconds, kib);   // at least two points at different times
//   memory.slope()              // KiB a second
//
// Thread-compatible.
#ifndef DENOISED_TESTS_SOAK_TREND_H_
#define DENOISED_TESTS_SOAK_TREND_H_

#include <cstdint>
#include <vector>

namespace denoised {

class Trend {
 public:
  void Add(double x, double y) { points_.push_back({x, y}); }

  // Without the first of the points, as many as this share of them.
  Trend Later(double share) const {
    Trend later;
    later.points_.assign(points_.begin() + static_cast<int64_t>(share * static_cast<double>(points_.size())),
                         points_.end());
    return later;
  }

  double mean() const {
    double sum = 0;
    for (const Point& point : points_) sum += point.y;
    return points_.empty() ? 0 : sum / static_cast<double>(points_.size());
  }

  // 0 where there is no telling.
  double slope() const {
    double mean_x = 0, both = 0, square = 0;
    for (const Point& point : points_) mean_x += point.x / static_cast<double>(points_.size());
    for (const Point& point : points_) {
      both += (point.x - mean_x) * (point.y - mean());
      square += (point.x - mean_x) * (point.x - mean_x);
    }
    return square == 0 ? 0 : both / square;
  }

  // Along the line, from the first point to the last.
  double rise() const { return points_.empty() ? 0 : slope() * (points_.back().x - points_.front().x); }

 private:
  struct Point {
    double x, y;
  };
  std::vector<Point> points_;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_SOAK_TREND_H_
