#include "common/engine/cpu/cpu_engine.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "common/diffusion/image_state.h"
#include "common/diffusion/noise.h"
#include "common/engine/cpu/cpu_kernels.h"
#include "common/engine/cpu/team_turns.h"
#include "common/image/image.h"
#include "common/support/clock.h"
#include "common/support/counted.h"
#include "common/support/status_macros.h"
#include "common/support/worker_pool.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxRowsPerCall = 16;  // more are hardly faster

// Calls `work`, which may throw.
template <typename Work>
absl::Status Guarded(const Work& work) {
  try {
    const FlushDenormals flush_denormals;
    work();
    return absl::OkStatus();
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("the network failed: ", e.what()));
  }
}

class CpuEngine : public Engine {
 public:
  CpuEngine(CpuNetworkFactory make_network, const CpuEngineOptions& options)
      : options_(options),
        make_network_(std::move(make_network)),
        most_rows_(MostRows(options)),
        probe_(most_rows_, options),
        alone_(probe_.images.size()),
        output_(2 * static_cast<size_t>(options.num_slots) * kModelPixels),
        state_(options.num_slots),
        pool_(options.num_threads) {
    for (int i = 0; i < pool_.size(); ++i) workers_.emplace_back().network = make_network_(most_rows_, 1);
  }

  int num_slots() const override { return options_.num_slots; }
  double network_seconds() const override { return network_seconds_; }
  const CpuEngineChoices& choices() const { return choices_; }
  std::string Description() const override {
    const CpuEngineChoices choices = ChoicesForReaders();
    std::string text = absl::StrFormat("%s on %s, up to %s to a network call", options_.runner,
                                       Counted(pool_.size(), "thread"), Counted(choices.rows_per_call, "row"));
    if (choices.team_rows > 0) {
      absl::StrAppendFormat(&text, "; %s on a team of %d threads, %.1f times as fast as on one",
                            choices.team_rows == 1 ? "single rows" : absl::StrCat("up to ", choices.team_rows, " rows"),
                            choices.team_threads, choices.team_speedup);
    }
    return text;
  }

  bool ChooseAgain(const std::function<bool()>& give_up) override {
    const CpuEngineChoices before = choices_;
    const absl::Status status = Guarded([&] { ChooseTeam(give_up); });
    const bool changed = choices_.team_threads != before.team_threads || choices_.team_rows != before.team_rows;
    if (changed && options_.on_chosen_again) options_.on_chosen_again(choices_);
    return status.ok() && changed;
  }

  // Runs calls of every number of rows, and makes the choices.
  absl::Status WarmUp() {
    DENOISED_RETURN_IF_ERROR(Guarded([&] {
      for (int row = 0; row < most_rows_; ++row) {
        workers_[0].network->Predict(probe_.Rows(row, 1), alone_.data() + static_cast<size_t>(row) * kModelPixels);
      }
      while (choices_.rows_per_call < most_rows_ && KeepsBits(*workers_[0].network, choices_.rows_per_call + 1)) {
        ++choices_.rows_per_call;
      }
    }));
    DENOISED_RETURN_IF_ERROR(OnWorkers(pool_.size(), [&](int worker) {
      std::vector<float> e(alone_.size());
      for (int rows = 1; worker > 0 && rows <= choices_.rows_per_call; ++rows) {
        workers_[worker].network->Predict(probe_.Rows(0, rows), e.data());
      }
    }));
    return Guarded([&] {
      if (options_.earlier.has_value()) {
        TakeTeam(*options_.earlier);
      } else {
        ChooseTeam([] { return false; });
      }
    });
  }

  absl::Status Step(absl::Span<const StepRow> rows) override {
    if (rows.empty()) return absl::OkStatus();
    state_.Announce(rows);
    const int network_rows = NetworkRows(rows);
    const bool for_team = !IsAtWork(options_.another_at_work) && network_rows <= choices_.team_rows;
    const bool team = for_team && turns_.TeamIsNext();
    PlanCalls(rows, network_rows, team ? 1 : pool_.size());
    if (team_awake_ && !team) team_->Rest();  // its threads would be in the workers' way
    team_awake_ = team;
    const int used = team ? 1 : std::min<int>(pool_.size(), static_cast<int>(calls_.size()));
    for (Worker& worker : workers_) worker.network_seconds = 0;
    const Clock::time_point start = Clock::now();
    absl::Status status = OnWorkers(used, [&](int index) {
      Worker& worker = workers_[index];
      CpuNetwork& network = team ? *team_ : *worker.network;
      for (size_t i = index; i < calls_.size(); i += used) RunCall(rows, calls_[i], network, worker);
    });
    if (for_team) turns_.Took(SecondsSince(start) / network_rows);
    const auto slowest = std::max_element(workers_.begin(), workers_.end(), [](const Worker& a, const Worker& b) {
      return a.network_seconds < b.network_seconds;
    });
    network_seconds_ += slowest->network_seconds;
    return status;
  }

  int StepsDone(int slot) const override { return state_.steps_done(slot); }
  bool Finite(int slot) const override { return state_.finite(slot); }

  absl::Status Read(int slot, FrameKind kind, absl::Span<float> pixels) override {
    return state_.Read(slot, kind, pixels);
  }

 private:
  struct Worker {
    std::unique_ptr<CpuNetwork> network;
    std::vector<NetworkRow> rows;  // of its call
    double network_seconds = 0;    // of the step
    absl::Status status;           // likewise
  };

  // Rows begin to end of a step. A guided image has two network rows, which stay together: its label's, then the null
  // label's. Network rows of one call are consecutive from `first`.
  struct Call {
    size_t begin = 0, end = 0;
    int first = 0, count = 0;
  };

  static int MostRows(const CpuEngineOptions& options) {
    const int max_rows = options.max_rows > 0 ? options.max_rows : 2 * options.num_slots;
    // A guided image has two.
    return std::clamp((max_rows + options.num_threads - 1) / options.num_threads, 2, kMaxRowsPerCall);
  }

  // Calls work(0) .. work(used-1) on the workers. The first error, by worker.
  template <typename Work>
  absl::Status OnWorkers(int used, const Work& work) {
    pool_.Run(used, [&](int worker) { workers_[worker].status = Guarded([&] { work(worker); }); });
    for (int worker = 0; worker < used; ++worker) DENOISED_RETURN_IF_ERROR(workers_[worker].status);
    return absl::OkStatus();
  }

  // As many calls for each of so many workers, with about as many of `total` network rows in each.
  void PlanCalls(absl::Span<const StepRow> rows, int total, int workers) {
    calls_.clear();
    const int rounds = (total + workers * choices_.rows_per_call - 1) / (workers * choices_.rows_per_call);
    const int target = (total + workers * rounds - 1) / (workers * rounds);
    int first = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      const int count = NetworkRows(rows[i]);
      if (calls_.empty() || calls_.back().count + count > target) {
        calls_.push_back({.begin = i, .end = i, .first = first, .count = 0});
      }
      calls_.back().end = i + 1;
      calls_.back().count += count;
      first += count;
    }
  }

  void RunCall(absl::Span<const StepRow> rows, const Call& call, CpuNetwork& network, Worker& worker) {
    worker.rows.clear();
    for (const StepRow& row : rows.subspan(call.begin, call.end - call.begin)) {
      if (row.step == 0) state_.Start(row);
      worker.rows.push_back({.x = state_.x(row.slot), .t = (*row.plan)[row.step].timestep, .y = row.label});
      if (NetworkRows(row) == 2) {
        worker.rows.push_back(worker.rows.back());
        worker.rows.back().y = options_.null_label;
      }
    }
    float* e = output_.data() + static_cast<size_t>(call.first) * kModelPixels;
    const Clock::time_point start = Clock::now();
    // A guided image alone is two rows, even where rows cannot share a call.
    for (int row = 0; row < call.count; row += choices_.rows_per_call) {
      network.Predict(absl::MakeConstSpan(worker.rows).subspan(row, choices_.rows_per_call),
                      e + static_cast<size_t>(row) * kModelPixels);
    }
    worker.network_seconds += SecondsSince(start);
    for (size_t i = call.begin; i < call.end; ++i) {
      if (NetworkRows(rows[i]) == 2) Guide(rows[i].guidance_scale, e + kModelPixels, e);
      state_.Update(rows[i], e);
      e += int64_t{NetworkRows(rows[i])} * kModelPixels;
    }
  }

  // ---- Choices -----------------------------------------------------------------------------------------------------

  // Rows that differ in everything.
  struct Probe {
    Probe(int most_rows, const CpuEngineOptions& options) : images(static_cast<size_t>(most_rows) * kModelPixels) {
      FillNoise({.seed = 1}, absl::MakeSpan(images));
      for (int row = 0; row < most_rows; ++row) {
        rows.push_back({.x = images.data() + static_cast<size_t>(row) * kModelPixels,
                        .t = int64_t{row} * options.num_train_timesteps / most_rows,
                        .y = row % options.num_labels});
      }
    }

    absl::Span<const NetworkRow> Rows(int first, int count) const {
      return absl::MakeConstSpan(rows).subspan(first, count);
    }

    std::vector<float> images;  // [rows, kModelPixels]
    std::vector<NetworkRow> rows;
  };

  // Whether the first `rows` rows of the probe in one call give what each gives alone.
  bool KeepsBits(CpuNetwork& network, int rows) const {
    std::vector<float> together(static_cast<size_t>(rows) * kModelPixels);
    network.Predict(probe_.Rows(0, rows), together.data());
    return std::equal(together.begin(), together.end(), alone_.begin());
  }

  // So many threads that share a call: one, the team that there is, or another one.
  struct Team {
    int threads = 1;
    CpuNetwork* network = nullptr;
    std::unique_ptr<CpuNetwork> another = nullptr;             // holds `network` if it is another one
    double seconds = std::numeric_limits<double>::infinity();  // of a row
  };

  // Of one thread, of teams of 2, 4, ... threads, and of all, the one that runs a row fastest. What there is stays
  // unless another one is clearly faster, or if `give_up` says so meanwhile, or if that takes long.
  void ChooseTeam(const std::function<bool()>& give_up) {
    bool over = false;
    const Clock::time_point end = Clock::now() + options_.patience;
    const std::function<bool()> is_over = [&] { return over = over || Clock::now() > end || give_up(); };
    std::vector<Team> teams = Teams(is_over);
    if (teams.size() < 2 || !Time(teams, is_over)) return;
    auto best = std::find_if(teams.begin(), teams.end(), [this](const Team& team) { return IsChosen(team.threads); });
    if (best == teams.end()) return;
    for (auto team = teams.begin(); team != teams.end(); ++team) {
      if (team->seconds <= 0.9 * best->seconds) best = team;
    }
    const double speedup = teams[0].seconds / best->seconds;
    const int rows = best->threads == 1 ? 0 : TeamRows(*best->network, speedup);
    if (best->another != nullptr) team_ = std::move(best->another);
    if (best->threads == 1) team_.reset();
    SetTeam(best->threads, rows, speedup);
  }

  // One thread first. Those that change bits are left out.
  std::vector<Team> Teams(const std::function<bool()>& is_over) {
    std::vector<Team> teams;
    teams.push_back({.network = workers_[0].network.get()});
    for (int threads = 2; threads < 2 * pool_.size() && !is_over(); threads *= 2) {
      Team team{.threads = std::min(threads, pool_.size())};
      if (IsChosen(team.threads)) {
        team.network = team_.get();
      } else {
        team.another = make_network_(most_rows_, team.threads);
        team.network = team.another.get();
      }
      if (team.network == nullptr || !KeepsBits(*team.network, 1)) break;
      team.network->Rest();
      teams.push_back(std::move(team));
    }
    return teams;
  }

  // In turns, so that a slow moment of the machine does not hit one of them alone. False if it was over before.
  bool Time(std::vector<Team>& teams, const std::function<bool()>& is_over) const {
    for (int round = 0; round < 5; ++round) {
      for (Team& team : teams) {
        team.seconds = std::min(team.seconds, SecondsPerCall(*team.network, is_over));
        if (team.threads > 1) team.network->Rest();  // its threads would be in the next one's way
        if (is_over()) return false;
      }
    }
    return true;
  }

  // Most rows that a team takes. More than its speed-up are faster on workers of their own, and it never takes as
  // many as there are workers.
  int TeamRows(CpuNetwork& team, double speedup) const {
    const int worth = std::min({static_cast<int>(speedup), pool_.size() - 1, choices_.rows_per_call});
    int rows = 1;
    while (rows < worth && KeepsBits(team, rows + 1)) ++rows;
    team.Rest();
    return rows;
  }

  // The team that was chosen before, if it keeps the bits of all the rows that it is to take.
  void TakeTeam(const CpuEngineChoices& earlier) {
    if (earlier.team_rows == 0 || earlier.team_rows > choices_.rows_per_call) return;
    std::unique_ptr<CpuNetwork> team = make_network_(most_rows_, earlier.team_threads);
    for (int rows = 1; rows <= earlier.team_rows; ++rows) {
      if (team == nullptr || !KeepsBits(*team, rows)) return;
    }
    team->Rest();
    team_ = std::move(team);
    SetTeam(earlier.team_threads, earlier.team_rows, earlier.team_speedup);
  }

  // The median of a few calls of one row.
  double SecondsPerCall(CpuNetwork& network, const std::function<bool()>& is_over) const {
    std::vector<double> seconds;
    std::vector<float> e(kModelPixels);
    while (seconds.empty() || (seconds.size() < 21 && !is_over())) {
      const Clock::time_point start = Clock::now();
      network.Predict(probe_.Rows(0, 1), e.data());
      seconds.push_back(SecondsSince(start));
    }
    std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 2, seconds.end());
    return seconds[seconds.size() / 2];
  }

  bool IsChosen(int threads) const { return threads == choices_.team_threads; }

  void SetTeam(int threads, int rows, double speedup) {
    const absl::MutexLock lock(&mu_);
    choices_.team_threads = threads;
    choices_.team_rows = rows;
    choices_.team_speedup = speedup;
    team_awake_ = false;
    turns_ = TeamTurns();
  }

  CpuEngineChoices ChoicesForReaders() const {
    const absl::MutexLock lock(&mu_);
    return choices_;
  }

  // Constant after WarmUp.
  const CpuEngineOptions options_;
  const CpuNetworkFactory make_network_;
  const int most_rows_;  // of a call
  const Probe probe_;
  std::vector<float> alone_;  // what the network makes of each row of the probe by itself

  mutable absl::Mutex mu_;
  CpuEngineChoices choices_;  // written by the engine's thread while it holds mu_, so that it may read without

  std::vector<Worker> workers_;       // each used by one thread during a step
  std::unique_ptr<CpuNetwork> team_;  // null where there is none
  bool team_awake_ = false;           // whether it ran the last step
  TeamTurns turns_;                   // of steps that are not too wide for it
  std::vector<Call> calls_;           // of the step
  std::vector<float> output_;         // [network rows of the step, kModelPixels]
  ImageState state_;                  // a slot belongs to one worker during a step
  double network_seconds_ = 0;
  WorkerPool pool_;  // NOTE: last, so that its threads end before what they use
};

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> MakeCpuEngine(const CpuNetworkFactory& make_network,
                                                      const CpuEngineOptions& options, CpuEngineChoices* choices) {
  auto engine = std::make_unique<CpuEngine>(make_network, options);
  DENOISED_RETURN_IF_ERROR(engine->WarmUp());
  if (choices != nullptr) *choices = engine->choices();
  return engine;
}

}  // namespace denoised
