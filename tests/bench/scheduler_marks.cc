// What the scheduler costs beside the engine, with a long queue:
//
//   scheduler_marks [queued images]    100000 by default
//
// The engine here does nothing. Times are of this machine as it is at the moment; docs/benchmarks/cpu.md has some.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "common/support/quantile.h"
#include "server/scheduler/scheduler.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;

class IdleEngine : public Engine {
 public:
  explicit IdleEngine(int num_slots) : num_slots_(num_slots) {}
  int num_slots() const override { return num_slots_; }
  absl::Status Step(absl::Span<const StepRow>) override {
    std::this_thread::sleep_for(step_time.load());
    return absl::OkStatus();
  }
  absl::Status Read(int, FrameKind, absl::Span<float>) override { return absl::OkStatus(); }

  std::atomic<std::chrono::microseconds> step_time{};

 private:
  const int num_slots_;
};

class Deaf : public DrawListener {
 public:
  void OnPreview(const PreviewFrame&) override {}
  void OnImage(const FinishedImage&) override {}
  void OnDone(const absl::Status&) override {}
};

double Microseconds(Clock::time_point since) {
  return std::chrono::duration<double, std::micro>(Clock::now() - since).count();
}

void Print(const char* what, std::vector<double> us) {
  std::sort(us.begin(), us.end());
  std::printf("%-52s %8.2f %8.2f %8.2f us\n", what, QuantileOfSorted(us, 0.5), QuantileOfSorted(us, 0.99), us.back());
}

// A scheduler with a long queue of one-image requests, of one client or of so many.
class Crowd {
 public:
  Crowd(int rows, int queued, int clients)
      : clients_(clients),
        engine_(UsefulSlots({.max_batch_rows = rows, .max_queued_images = queued})),
        scheduler_(engine_, {.max_batch_rows = rows, .max_queued_images = 2 * queued + 100000}) {
    for (int steps = 1; steps <= 1000; ++steps) plans_.push_back(std::make_shared<const StepPlan>(steps));
    if (!scheduler_.Calibrate().ok()) std::abort();
    for (int i = 0; i < queued; ++i) Submit(20 + static_cast<int>(random_() % 980));
  }

  void Submit(int steps) {
    DrawRequest draw;
    draw.plan = plans_[static_cast<size_t>(steps) - 1];
    draw.client = std::to_string(random_() % static_cast<unsigned>(clients_));
    absl::StatusOr<Admission> admission = scheduler_.Submit(draw, listener_);
    if (!admission.ok()) std::abort();
    tickets_.push_back(std::move(admission->ticket));
  }

  std::vector<double> TimeSubmits(int count) {
    std::vector<double> us;
    for (int i = 0; i < count; ++i) {
      const int steps = 20 + static_cast<int>(random_() % 980);
      const Clock::time_point start = Clock::now();
      Submit(steps);
      us.push_back(Microseconds(start));
    }
    return us;
  }

  // Beside the loop on another thread, whose steps take 0.1 ms: it chooses in each, as each finds somebody new.
  std::vector<double> TimeSubmitsBesideTheLoop(int count) {
    std::atomic<bool> over = false;
    engine_.step_time = std::chrono::microseconds(100);
    std::thread loop([&] {
      while (!over) scheduler_.RunStep();
    });
    const std::vector<double> us = TimeSubmits(count);
    over = true;
    loop.join();
    engine_.step_time = std::chrono::microseconds(0);
    return us;
  }

  // Passes that have to choose, each after an arrival, or those that have not.
  std::vector<double> TimePasses(int count, bool arrivals) {
    std::vector<double> us;
    scheduler_.RunStep();
    for (int i = 0; i < count; ++i) {
      if (arrivals) Submit(20 + static_cast<int>(random_() % 980));
      const Clock::time_point start = Clock::now();
      scheduler_.RunStep();
      us.push_back(Microseconds(start));
    }
    return us;
  }

 private:
  const int clients_;
  IdleEngine engine_;
  Scheduler scheduler_;
  std::shared_ptr<Deaf> listener_ = std::make_shared<Deaf>();
  std::mt19937 random_{1};
  std::vector<std::shared_ptr<const StepPlan>> plans_;
  std::vector<Ticket> tickets_;
};

void Run(int queued, int rows, int clients) {
  constexpr int kTimes = 2000;
  Crowd crowd(rows, queued, clients);
  std::printf("%d images queued by %d clients, up to %d rows a step\n", queued, clients, rows);
  Print("  Submit", crowd.TimeSubmits(kTimes));
  Print("  Submit, beside the loop", crowd.TimeSubmitsBesideTheLoop(kTimes));
  Print("  a pass that chooses", crowd.TimePasses(kTimes, true));
  Print("  a pass that need not", crowd.TimePasses(kTimes, false));
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) {
  const int queued = argc > 1 ? std::atoi(argv[1]) : 100000;
  std::printf("%-52s %8s %8s %8s\n", "", "median", "p99", "most");
  for (const int clients : {1, queued}) {
    for (const int rows : {2, 16, 256}) denoised::Run(queued, rows, clients);
  }
}
