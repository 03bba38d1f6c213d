#include "server/capacity/load_simulation.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <deque>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/scheduler/scheduler.h"

namespace denoised {
namespace {

constexpr double kMaxRequests = 5e7;

std::chrono::nanoseconds Nanoseconds(double seconds) {
  return std::chrono::nanoseconds(static_cast<int64_t>(std::llround(seconds * 1e9)));
}

// Seconds since the simulation began, as the clock that the scheduler asks.
class VirtualClock {
 public:
  double seconds() const { return seconds_; }
  void Set(double seconds) { seconds_ = seconds; }
  SteadyTime Now() const { return SteadyTime(Nanoseconds(seconds_)); }

 private:
  double seconds_ = 0;
};

// Computes nothing: each step takes the time that the table says.
class TimedEngine : public Engine {
 public:
  TimedEngine(const SimulatedServer& server, VirtualClock& clock) : server_(server), clock_(clock) {}

  int num_slots() const override {
    return UsefulSlots({.max_batch_rows = server_.max_batch_rows, .max_queued_images = server_.max_queued_images});
  }
  absl::Status Step(absl::Span<const StepRow> rows) override {
    const int network_rows = NetworkRows(rows);
    clock_.Set(clock_.seconds() + server_.step_seconds[network_rows - 1]);
    ++steps_;
    rows_ += network_rows;
    return absl::OkStatus();
  }
  absl::Status Read(int, FrameKind, absl::Span<float>) override { return absl::OkStatus(); }

  void ForgetSteps() { steps_ = rows_ = 0; }
  int64_t steps() const { return steps_; }
  int64_t rows() const { return rows_; }

 private:
  const SimulatedServer& server_;
  VirtualClock& clock_;
  int64_t steps_ = 0;
  int64_t rows_ = 0;
};

struct Arrival {
  double seconds = 0;
  int steps = 0;
};

// One request, which gives its place back as soon as it is done.
class Customer : public DrawListener {
 public:
  Customer(double arrival, const VirtualClock& clock) : arrival_(arrival), clock_(clock) {}

  void OnPreview(const PreviewFrame&) override {}
  void OnImage(const FinishedImage&) override { finish_ = clock_.seconds(); }
  void OnDone(const absl::Status&) override { done_ = true; }

  void Hold(Ticket ticket) { ticket_ = std::move(ticket); }
  double arrival() const { return arrival_; }
  double finish() const { return finish_; }
  bool done() const { return done_; }

 private:
  const double arrival_;
  const VirtualClock& clock_;
  Ticket ticket_;
  double finish_ = 0;
  bool done_ = false;
};

// Of one replica.
struct Totals {
  void Finish(const SimulatedLoad& load, double arrival, double finish, double seconds_beside_steps) {
    if (finish >= load.warmup_seconds && finish < load.warmup_seconds + load.seconds) ++finished_in_time;
    if (arrival >= load.warmup_seconds) latencies.push_back(finish - arrival + seconds_beside_steps);
  }

  int64_t refused = 0;
  int64_t finished_in_time = 0;
  std::vector<double> latencies;
  int64_t steps = 0, rows = 0;
};

// One replica from its first arrival to its last image.
class Replica {
 public:
  Replica(const SimulatedServer& server, const SimulatedLoad& load, const std::vector<Arrival>& arrivals)
      : server_(server),
        load_(load),
        arrivals_(arrivals),
        engine_(server, clock_),
        scheduler_(engine_, {.max_batch_rows = server.max_batch_rows, .max_queued_images = server.max_queued_images},
                   nullptr, [this] { return clock_.Now(); }) {
    request_.guidance_scale = load.guided ? 2 : 1;
    for (const int steps : load.steps) {
      std::shared_ptr<const StepPlan>& plan = plans_[steps];
      if (plan == nullptr) plan = std::make_shared<const StepPlan>(steps);
    }
    scheduler_.Calibrate().IgnoreError();  // the engine never fails
    engine_.ForgetSteps();
    clock_.Set(0);
  }

  void Run(Totals& totals) {
    while (true) {
      SubmitWhatHasCome(totals);
      if (scheduler_.RunStep()) {
        Collect(totals);
        continue;
      }
      if (next_ == arrivals_.size()) break;
      clock_.Set(arrivals_[next_].seconds);
    }
    totals.steps += engine_.steps();
    totals.rows += engine_.rows();
  }

 private:
  // Those who came during the last step, each at its own time.
  void SubmitWhatHasCome(Totals& totals) {
    const double now = clock_.seconds();
    for (; next_ < arrivals_.size() && arrivals_[next_].seconds <= now; ++next_) {
      const Arrival& arrival = arrivals_[next_];
      clock_.Set(arrival.seconds);
      auto customer = std::make_shared<Customer>(arrival.seconds, clock_);
      request_.plan = plans_.at(arrival.steps);
      absl::StatusOr<Admission> admission = scheduler_.Submit(request_, customer);
      if (admission.ok()) {
        customer->Hold(std::move(admission->ticket));
        customers_.push_back(std::move(customer));
      } else if (arrival.seconds >= load_.warmup_seconds) {
        ++totals.refused;
      }
    }
    clock_.Set(now);
  }

  void Collect(Totals& totals) {
    std::erase_if(customers_, [&](const std::shared_ptr<Customer>& customer) {
      if (!customer->done()) return false;
      totals.Finish(load_, customer->arrival(), customer->finish(), server_.seconds_beside_steps);
      customer->Hold(Ticket());
      return true;
    });
  }

  const SimulatedServer& server_;
  const SimulatedLoad& load_;
  const std::vector<Arrival>& arrivals_;
  std::map<int, std::shared_ptr<const StepPlan>> plans_;  // by their steps
  size_t next_ = 0;
  VirtualClock clock_;
  TimedEngine engine_;
  Scheduler scheduler_;
  DrawRequest request_;
  std::deque<std::shared_ptr<Customer>> customers_;
};

// The same replica with request-level batching.
void RunRequestBatches(const SimulatedServer& server, const SimulatedLoad& load, const std::vector<Arrival>& arrivals,
                       Totals& totals) {
  const int rows_per_image = load.guided ? 2 : 1;
  const size_t most_images = server.max_batch_rows / rows_per_image;
  const size_t places = static_cast<size_t>(server.max_batch_rows) + server.max_queued_images;
  std::deque<Arrival> waiting;
  size_t next = 0;
  double now = 0;
  while (next < arrivals.size() || !waiting.empty()) {
    if (waiting.empty()) now = std::max(now, arrivals[next].seconds);
    const auto let_in = [&](size_t running) {
      for (; next < arrivals.size() && arrivals[next].seconds <= now; ++next) {
        if (waiting.size() + running < places) {
          waiting.push_back(arrivals[next]);
        } else if (arrivals[next].seconds >= load.warmup_seconds) {
          ++totals.refused;
        }
      }
    };
    let_in(0);
    const int steps = waiting.front().steps;
    std::vector<Arrival> batch;
    std::erase_if(waiting, [&](const Arrival& arrival) {
      if (arrival.steps != steps || batch.size() == most_images) return false;
      batch.push_back(arrival);
      return true;
    });
    const int rows = static_cast<int>(batch.size()) * rows_per_image;
    now += server.step_seconds[rows - 1] * steps;
    let_in(batch.size());
    for (const Arrival& arrival : batch) totals.Finish(load, arrival.seconds, now, server.seconds_beside_steps);
    totals.steps += steps;
    totals.rows += int64_t{rows} * steps;
  }
}

std::vector<std::vector<Arrival>> DealArrivals(const SimulatedLoad& load) {
  // NOTE: from a generator of their own, the moments are those of `denoise bench` with the same rate and seed.
  std::mt19937_64 random(load.seed), choices(~load.seed);
  std::exponential_distribution<double> gap(load.requests_per_second);
  std::uniform_int_distribution<int> any(0, load.replicas - 1);
  std::uniform_int_distribution<size_t> any_steps(0, load.steps.size() - 1);
  std::vector<std::vector<Arrival>> arrivals(load.replicas);
  int next = 0;
  const double end = load.warmup_seconds + load.seconds;
  for (double time = gap(random); time < end; time += gap(random)) {
    const int replica = load.balancing == Balancing::kRandom ? any(choices) : next++ % load.replicas;
    arrivals[replica].push_back({.seconds = time, .steps = load.steps[any_steps(choices)]});
  }
  return arrivals;
}

absl::Status Check(const SimulatedServer& server, const SimulatedLoad& load) {
  if (server.max_batch_rows < 2) return absl::InvalidArgumentError("max_batch_rows must be at least 2");
  if (server.step_seconds.size() != static_cast<size_t>(server.max_batch_rows)) {
    return absl::InvalidArgumentError(absl::StrCat("the table has step times of 1 to ", server.step_seconds.size(),
                                                   " rows, and max_batch_rows is ", server.max_batch_rows));
  }
  const bool positive = std::all_of(server.step_seconds.begin(), server.step_seconds.end(),
                                    [](double seconds) { return std::isfinite(seconds) && seconds > 0; });
  if (!positive) return absl::InvalidArgumentError("step times must be above 0");
  const bool steps =
      !load.steps.empty() && std::all_of(load.steps.begin(), load.steps.end(), [](int number) { return number >= 1; });
  if (!(load.requests_per_second > 0) || !(load.seconds > 0) || !steps || load.replicas < 1) {
    return absl::InvalidArgumentError("requests a second, seconds, steps and replicas must be above 0");
  }
  const double requests = load.requests_per_second * (load.seconds + load.warmup_seconds);
  if (requests > kMaxRequests) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%.3g requests are more than the %.3g that fit into memory; simulate "
                        "fewer seconds or replicas",
                        requests, kMaxRequests));
  }
  return absl::OkStatus();
}

SimulationResult Summarise(const SimulatedLoad& load, std::vector<Totals>& totals) {
  SimulationResult result;
  int64_t finished_in_time = 0, steps = 0, rows = 0;
  for (Totals& one : totals) {
    result.refused += one.refused;
    result.latencies.insert(result.latencies.end(), one.latencies.begin(), one.latencies.end());
    finished_in_time += one.finished_in_time;
    steps += one.steps;
    rows += one.rows;
  }
  std::sort(result.latencies.begin(), result.latencies.end());
  result.finished = static_cast<int64_t>(result.latencies.size());
  result.images_per_second = static_cast<double>(finished_in_time) / load.seconds;
  result.rows_per_step = steps > 0 ? static_cast<double>(rows) / static_cast<double>(steps) : 0;
  return result;
}

}  // namespace

absl::StatusOr<SimulationResult> SimulateLoad(const SimulatedServer& server, const SimulatedLoad& load) {
  if (absl::Status status = Check(server, load); !status.ok()) return status;
  const std::vector<std::vector<Arrival>> arrivals = DealArrivals(load);
  std::vector<Totals> totals(arrivals.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < arrivals.size(); i = next++) {
      if (load.batching == Batching::kSteps) {
        Replica(server, load, arrivals[i]).Run(totals[i]);
      } else {
        RunRequestBatches(server, load, arrivals[i], totals[i]);
      }
    }
  };
  {
    std::vector<std::jthread> threads(std::max(1u, std::thread::hardware_concurrency()));
    for (std::jthread& thread : threads) thread = std::jthread(work);
  }
  return Summarise(load, totals);
}

double MostRequestsPerSecond(const SimulatedServer& server, const SimulatedLoad& load) {
  const int images = server.max_batch_rows / (load.guided ? 2 : 1);
  const double steps =
      std::accumulate(load.steps.begin(), load.steps.end(), 0.0) / static_cast<double>(load.steps.size());
  return images / (server.step_seconds[images * (load.guided ? 2 : 1) - 1] * steps);
}

}  // namespace denoised
