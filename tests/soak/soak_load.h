// File: soak_load.h
//
// Clients that ask at random moments, whatever has been answered, and not all of whom behave:
//
//   SoakLoad load(clients, /*seed=*/1);
//   const Tally minute = load.Run({.images_per_second = 60, .unruly = true}, std::chrono::minutes(1));
//   load.AwaitAnswers();
//
// Ordinary requests ask for one or two images of 20 or 50 steps, some with previews; these are goodput. Beside them,
// for each ten of them, unruly clients make one request that they leave after a few events, and one with a deadline of
// milliseconds.
//
// Thread-compatible.
#ifndef DENOISED_TESTS_SOAK_SOAK_LOAD_H_
#define DENOISED_TESTS_SOAK_SOAK_LOAD_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/calls/digit_client.h"
#include "denoised/v1/digit_service.grpc.pb.h"

namespace denoised {

inline constexpr uint32_t kFewSteps = 20, kManySteps = 50;

// One image, by a sampler that takes any number of steps.
v1::GenerateDigitRequest SoakRequest(uint32_t steps);

struct Arrivals {
  double images_per_second = 1;  // that ordinary clients ask for, on average
  bool unruly = false;           // others come on top
};

// Calls that ended, by how.
struct Tally {
  double seconds = 0;
  int64_t images = 0;   // that reached ordinary clients whose calls ended well
  int64_t steps = 0;    // of those images
  int64_t refused = 0;  // ordinary ones: RESOURCE_EXHAUSTED
  int64_t left = 0;     // by their clients
  int64_t late = 0;     // DEADLINE_EXCEEDED
  int64_t failed = 0;   // anything else
  std::string first_failure;

  double images_per_second() const { return static_cast<double>(images) / seconds; }
  double steps_per_second() const { return static_cast<double>(steps) / seconds; }
};

class SoakLoad {
 public:
  // Clients take turns, and outlive this object.
  SoakLoad(std::vector<DigitClient*> clients, uint64_t seed) : clients_(std::move(clients)), random_(seed) {}
  ~SoakLoad() { AwaitAnswers(); }

  // Blocks for this time; what is asked for late in it is answered later, and then counts there.
  Tally Run(const Arrivals& arrivals, std::chrono::nanoseconds duration);

  // Blocks until there is no call any more; these do not count.
  void AwaitAnswers();

 private:
  enum class Kind { kOrdinary, kLeaves, kImpatient };

  Kind RandomKind(bool unruly);
  void Ask(Kind kind);
  void Finish(Kind kind, uint32_t steps, int64_t images, const absl::Status& status);
  int Below(int n) { return std::uniform_int_distribution<int>(0, n - 1)(random_); }

  const std::vector<DigitClient*> clients_;
  std::mt19937_64 random_;
  uint64_t asked_ = 0;

  absl::Mutex mu_;
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  Tally tally_ ABSL_GUARDED_BY(mu_);
};

// Clients that ask for big pictures and every frame, read one event, and then nothing until the server has had enough.
class StalledReaders {
 public:
  StalledReaders(const std::string& address, const std::string& token, int readers);
  // Leaves.
  ~StalledReaders();

 private:
  void Stall(const std::string& address, const std::string& token);
  bool WaitUnlessOver(std::chrono::nanoseconds duration);

  absl::Mutex mu_;
  bool over_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_SOAK_SOAK_LOAD_H_
