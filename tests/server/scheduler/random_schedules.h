// File: random_schedules.h
//
// Which random schedules a test goes through, and what it draws them from.
//
//   const RandomSchedules schedules(/*by_default=*/3000);   // unless the environment says otherwise:
//   for (uint64_t seed = schedules.first; seed < schedules.end; ++seed) {   // DENOISED_SCHEDULES=1000000
//     Random random(seed);                                                  // DENOISED_SCHEDULE_SEED=1234 replays one
#ifndef DENOISED_TESTS_SERVER_SCHEDULER_RANDOM_SCHEDULES_H_
#define DENOISED_TESTS_SERVER_SCHEDULER_RANDOM_SCHEDULES_H_

#include <cstdint>
#include <cstdlib>
#include <random>
#include <vector>

namespace denoised {

class Random {
 public:
  explicit Random(uint64_t seed) : bits_(seed) {}
  int UpTo(int most) { return std::uniform_int_distribution<int>(0, most)(bits_); }
  bool OneIn(int n) { return UpTo(n - 1) == 0; }
  template <typename T>
  T& Of(std::vector<T>& values) {
    return values[static_cast<size_t>(UpTo(static_cast<int>(values.size()) - 1))];
  }

 private:
  std::mt19937_64 bits_;
};

// Seeds from `first` to before `end`.
struct RandomSchedules {
  explicit RandomSchedules(uint64_t by_default)
      : replay(std::getenv("DENOISED_SCHEDULE_SEED") != nullptr),
        first(FromEnvironment("DENOISED_SCHEDULE_SEED", 1)),
        end(first + (replay ? 1 : FromEnvironment("DENOISED_SCHEDULES", by_default))) {}

  const bool replay;
  const uint64_t first;
  const uint64_t end;

 private:
  static uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
    const char* value = std::getenv(name);
    return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
  }
};

}  // namespace denoised

#endif  // DENOISED_TESTS_SERVER_SCHEDULER_RANDOM_SCHEDULES_H_
