#include "common/engine/cpu/cpu_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "common/diffusion/noise.h"
#include "common/diffusion/row_update.h"
#include "common/image/image.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

// What a puppet network shall do.
struct Puppet {
  int keeps_bits_up_to = 16;  // rows; more of them together give other bits
  bool has_team = false;
  bool team_keeps_bits = true;
  std::chrono::milliseconds alone{0};             // what a call takes on one thread
  std::map<int, std::chrono::milliseconds> team;  // by its threads
  bool broken = false;
  int rests = 0;           // how often the team has been let go
  int calls_of_teams = 0;  // so far
};

// e = x/2 + y/4, and a little more where bits shall differ.
class PuppetNetwork : public CpuNetwork {
 public:
  PuppetNetwork(Puppet& puppet, int threads) : puppet_(puppet), threads_(threads) {}

  void Predict(absl::Span<const NetworkRow> rows, float* e) override {
    if (puppet_.broken) throw std::runtime_error("out of order");
    if (threads_ > 1) ++puppet_.calls_of_teams;
    std::this_thread::sleep_for(threads_ == 1 ? puppet_.alone : puppet_.team[threads_]);
    const bool differs =
        static_cast<int>(rows.size()) > puppet_.keeps_bits_up_to || (threads_ > 1 && !puppet_.team_keeps_bits);
    for (const NetworkRow& row : rows) {
      for (int i = 0; i < kModelPixels; ++i) {
        *e++ = row.x[i] / 2 + static_cast<float>(row.y) / 4 + (differs ? 1e-3f : 0);
      }
    }
  }

  void Rest() override { ++puppet_.rests; }

 private:
  Puppet& puppet_;
  const int threads_;
};

class CpuEngineTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Engine>> Make(int threads = 2, int slots = 8) {
    return MakeCpuEngine(
        [this](int, int team) -> std::unique_ptr<CpuNetwork> {
          if (team > 1 && !puppet_.has_team) return nullptr;
          return std::make_unique<PuppetNetwork>(puppet_, team);
        },
        {.runner = "puppets",
         .null_label = 10,
         .num_slots = slots,
         .num_threads = threads,
         .num_train_timesteps = 1000,
         .num_labels = 11,
         .earlier = earlier_,
         .another_at_work = another_at_work_,
         .patience = patience_,
         .on_chosen_again = [this](const CpuEngineChoices& choices) { choices_ = choices; }},
        &choices_);
  }
  // One like it, beside it.
  absl::StatusOr<std::unique_ptr<Engine>> MakeAnother(int threads = 4) {
    earlier_ = choices_;
    return Make(threads);
  }

  StepRow Row(int slot, float guidance_scale = 1) const {
    return {.slot = slot,
            .plan = &plan_,
            .step = 0,
            .label = slot,
            .guidance_scale = guidance_scale,
            .seed = static_cast<uint64_t>(slot)};
  }

  // Row(slot) by the formulas.
  std::vector<float> Expected(int slot, float guidance_scale = 1) const {
    std::vector<float> x(kModelPixels), z(kModelPixels), x0(kModelPixels), e(kModelPixels);
    FillNoise({.seed = static_cast<uint64_t>(slot)}, absl::MakeSpan(x));
    FillNoise({.seed = static_cast<uint64_t>(slot), .stream = 1}, absl::MakeSpan(z));
    for (int i = 0; i < kModelPixels; ++i) {
      const float label = x[i] / 2 + static_cast<float>(slot) / 4, null = x[i] / 2 + 2.5f;
      e[i] = guidance_scale == 1 ? label : null + guidance_scale * (label - null);
    }
    UpdateRow(plan_[0], e.data(), z.data(), kModelPixels, x.data(), x0.data());
    return x;
  }

  static std::vector<float> Read(Engine& engine, int slot) {
    std::vector<float> pixels(kModelPixels);
    EXPECT_THAT(engine.Read(slot, FrameKind::kNoisy, absl::MakeSpan(pixels)), IsOk());
    return pixels;
  }

  const StepPlan plan_ = *MakeStepPlan(*NoiseSchedule::Create({}), {});
  Puppet puppet_;
  const std::shared_ptr<AnotherAtWork> another_at_work_ = std::make_shared<AnotherAtWork>(false);
  CpuEngineChoices choices_;
  std::optional<CpuEngineChoices> earlier_;
  std::chrono::nanoseconds patience_ = std::chrono::hours(1);
};

TEST_F(CpuEngineTest, EveryRowFollowsTheFormulasWhateverTheWorkers) {
  for (const int threads : {1, 2, 3, 8}) {
    const auto engine = Make(threads);
    ASSERT_THAT(engine, IsOk());
    ASSERT_THAT((*engine)->Step({Row(0), Row(1, 2.5f), Row(2), Row(5), Row(7, 2.5f)}), IsOk());
    for (const int slot : {0, 2, 5}) EXPECT_EQ(Read(**engine, slot), Expected(slot)) << threads;
    for (const int slot : {1, 7}) EXPECT_EQ(Read(**engine, slot), Expected(slot, 2.5f)) << threads;
  }
}

TEST_F(CpuEngineTest, AsManyRowsShareACallAsKeepTheirBits) {
  puppet_.keeps_bits_up_to = 3;
  const auto engine = Make(1);
  ASSERT_THAT(engine, IsOk());
  EXPECT_EQ(choices_.rows_per_call, 3);
  ASSERT_THAT((*engine)->Step({Row(0), Row(1), Row(2), Row(3), Row(4)}), IsOk());
  for (int slot = 0; slot < 5; ++slot) EXPECT_EQ(Read(**engine, slot), Expected(slot));
}

TEST_F(CpuEngineTest, GuidedImageIsDrawnWhereNoRowsMayShareACall) {
  puppet_.keeps_bits_up_to = 1;
  const auto engine = Make(2, /*slots=*/1);
  ASSERT_THAT(engine, IsOk());
  EXPECT_EQ(choices_.rows_per_call, 1);
  ASSERT_THAT((*engine)->Step({Row(0, 2.5f)}), IsOk());
  EXPECT_EQ(Read(**engine, 0), Expected(0, 2.5f));
}

TEST_F(CpuEngineTest, TeamOfThreadsTakesFewRowsWhereItIsFaster) {
  puppet_.has_team = true;
  puppet_.alone = std::chrono::milliseconds(2);
  const auto engine = Make(4);
  ASSERT_THAT(engine, IsOk());
  EXPECT_GE(choices_.team_threads, 2);
  EXPECT_GT(choices_.team_speedup, 1);
  EXPECT_EQ(choices_.team_rows, 3);  // never as many as there are workers
  EXPECT_THAT((*engine)->Description(),
              testing::MatchesRegex("puppets on 4 threads, up to 4 rows to a network call; up to 3 rows on a team of "
                                    "[24] threads, [0-9.]+ times as fast as on one"));
  ASSERT_THAT((*engine)->Step({Row(2), Row(3)}), IsOk());
  EXPECT_EQ(Read(**engine, 3), Expected(3));
}

TEST_F(CpuEngineTest, TheFastestTeamIsTakenIfItIsFasterThanOneThread) {
  using std::chrono::milliseconds;
  puppet_.has_team = true;
  puppet_.team = {{2, milliseconds(2)}, {4, milliseconds(4)}};
  for (const auto& [alone, threads] : {std::pair{milliseconds(6), 2}, {milliseconds(1), 1}}) {
    puppet_.alone = alone;
    ASSERT_THAT(Make(/*threads=*/4), IsOk());
    EXPECT_EQ(choices_.team_threads, threads);
    EXPECT_EQ(choices_.team_rows > 0, threads > 1);
  }
}

TEST_F(CpuEngineTest, TeamIsLetGoWhenWorkersTakeOver) {
  puppet_.has_team = true;
  puppet_.alone = std::chrono::milliseconds(2);
  const auto engine = Make(2);
  ASSERT_THAT(engine, IsOk());
  ASSERT_EQ(choices_.team_rows, 1);
  const int before = puppet_.rests;
  for (int i = 0; i < 2; ++i) ASSERT_THAT((*engine)->Step({Row(0)}), IsOk());
  EXPECT_EQ(puppet_.rests, before);
  for (int i = 0; i < 2; ++i) ASSERT_THAT((*engine)->Step({Row(0), Row(1)}), IsOk());
  EXPECT_EQ(puppet_.rests, before + 1);
}

// A neighbour that takes a core: what computes alone goes on, and the image is the same.
TEST_F(CpuEngineTest, TeamThatHasBecomeSlowRests) {
  puppet_ = {.has_team = true, .alone = std::chrono::milliseconds(2), .team = {{2, std::chrono::milliseconds(0)}}};
  const absl::StatusOr<std::unique_ptr<Engine>> engine = Make(2);
  ASSERT_THAT(engine, IsOk());
  ASSERT_EQ(choices_.team_threads, 2);
  const std::vector<StepRow> rows = {Row(0)};
  for (int i = 0; i < 50; ++i) ASSERT_THAT((*engine)->Step(rows), IsOk());
  puppet_.team[2] = std::chrono::milliseconds(20);
  puppet_.calls_of_teams = 0;
  for (int i = 0; i < 200; ++i) ASSERT_THAT((*engine)->Step(rows), IsOk());
  EXPECT_LT(puppet_.calls_of_teams, 150);
  EXPECT_EQ(Read(**engine, 0), Expected(0));
}

// Measured at a reload: a step of 0.2 ms took 0.2 s, as each of the team's 40 waits in it was for another one's turn.
TEST_F(CpuEngineTest, TeamRestsWhileAnotherModelIsAtWork) {
  puppet_ = {.has_team = true, .alone = std::chrono::milliseconds(20), .team = {{2, std::chrono::milliseconds(2)}}};
  const absl::StatusOr<std::unique_ptr<Engine>> engine = Make(2);
  ASSERT_THAT(engine, IsOk());
  ASSERT_EQ(choices_.team_threads, 2);
  const auto calls_of_teams = [&] {
    puppet_.calls_of_teams = 0;
    for (int i = 0; i < 3; ++i) EXPECT_THAT((*engine)->Step({Row(0)}), IsOk());
    return puppet_.calls_of_teams;
  };
  EXPECT_EQ(calls_of_teams(), 3);
  puppet_.rests = 0;
  *another_at_work_ = true;
  EXPECT_EQ(calls_of_teams(), 0);
  EXPECT_EQ(puppet_.rests, 1) << "its threads do not watch for the next step either";
  *another_at_work_ = false;
  EXPECT_EQ(calls_of_teams(), 3);
  EXPECT_EQ(Read(**engine, 0), Expected(0));
}

TEST_F(CpuEngineTest, MoreRowsThanThereIsRoomForAreMoreCalls) {
  const auto engine = MakeCpuEngine(
      [this](int max_rows, int) {
        EXPECT_EQ(max_rows, 2);
        return std::make_unique<PuppetNetwork>(puppet_, 1);
      },
      {.runner = "puppets",
       .null_label = 10,
       .num_slots = 8,
       .max_rows = 4,
       .num_threads = 2,
       .num_train_timesteps = 1000,
       .num_labels = 11});
  ASSERT_THAT(engine, IsOk());
  std::vector<StepRow> rows;
  for (int slot = 0; slot < 8; ++slot) rows.push_back(Row(slot));
  ASSERT_THAT((*engine)->Step(rows), IsOk());
  for (int slot = 0; slot < 8; ++slot) EXPECT_EQ(Read(**engine, slot), Expected(slot));
}

TEST_F(CpuEngineTest, NoTeamWhereItChangesBits) {
  puppet_.has_team = true;
  puppet_.team_keeps_bits = false;
  puppet_.alone = std::chrono::milliseconds(1);
  const auto engine = Make(2);
  ASSERT_THAT(engine, IsOk());
  EXPECT_EQ(choices_.team_threads, 1);
  EXPECT_EQ((*engine)->Description(), "puppets on 2 threads, up to 8 rows to a network call");
  EXPECT_EQ(choices_.team_rows, 0);
}

// On busy cores a team looks slow, and its threads disturb whoever has them busy.
TEST_F(CpuEngineTest, EngineBesideAnotherTakesItsTeamUnmeasured) {
  puppet_.has_team = true;
  puppet_.alone = std::chrono::milliseconds(4);
  ASSERT_THAT(Make(4), IsOk());
  const CpuEngineChoices first = choices_;
  ASSERT_GT(first.team_rows, 0);
  puppet_.alone = std::chrono::milliseconds(0);
  puppet_.team = {{2, std::chrono::milliseconds(4)}, {4, std::chrono::milliseconds(4)}};
  const auto engine = MakeAnother();
  ASSERT_THAT(engine, IsOk());
  EXPECT_EQ(choices_.team_threads, first.team_threads);
  EXPECT_EQ(choices_.team_rows, first.team_rows);
  ASSERT_THAT((*engine)->Step({Row(0)}), IsOk());
  EXPECT_EQ(Read(**engine, 0), Expected(0));
}

TEST_F(CpuEngineTest, TeamOfAnotherIsNotTakenWhereItChangesBits) {
  puppet_.has_team = true;
  puppet_.alone = std::chrono::milliseconds(4);
  ASSERT_THAT(Make(4), IsOk());
  puppet_.team_keeps_bits = false;
  ASSERT_THAT(MakeAnother(), IsOk());
  EXPECT_EQ(choices_.team_rows, 0);
}

// An engine that was made beside a busy neighbour kept the worse choice for life.
TEST_F(CpuEngineTest, TeamIsChosenAgainOnAMachineThatHasChanged) {
  using std::chrono::milliseconds;
  puppet_.has_team = true;
  puppet_.team = {{2, milliseconds(4)}};
  const auto engine = Make(2);
  ASSERT_THAT(engine, IsOk());
  for (const auto& [alone, team] : {std::pair{milliseconds(4), milliseconds(0)}, {milliseconds(0), milliseconds(4)}}) {
    puppet_.alone = alone;
    puppet_.team = {{2, team}};
    EXPECT_TRUE((*engine)->ChooseAgain([] { return false; }));
    EXPECT_EQ(choices_.team_rows, alone > team ? 1 : 0);
    EXPECT_EQ((*engine)->Description().find("on a team of 2 threads") != std::string::npos, alone > team);
    ASSERT_THAT((*engine)->Step({Row(3)}), IsOk());
    EXPECT_EQ(Read(**engine, 3), Expected(3)) << "the same bits by any team";
  }
}

TEST_F(CpuEngineTest, TeamThatChangesBitsIsNotChosenAgainEither) {
  puppet_.has_team = true;
  puppet_.team_keeps_bits = false;
  puppet_.alone = std::chrono::milliseconds(4);
  const auto engine = Make(2);
  ASSERT_THAT(engine, IsOk());
  EXPECT_FALSE((*engine)->ChooseAgain([] { return false; }));
  EXPECT_EQ(choices_.team_rows, 0);
}

TEST_F(CpuEngineTest, ChoosingAgainThatIsGivenUpChangesNothing) {
  puppet_.has_team = true;
  puppet_.team = {{2, std::chrono::milliseconds(4)}};
  const auto engine = Make(2);
  ASSERT_THAT(engine, IsOk());
  const std::string before = (*engine)->Description();
  puppet_.alone = std::chrono::milliseconds(4);
  puppet_.team.clear();
  for (const int patience : {0, 1, 2, 5}) {
    int asked = 0;
    EXPECT_FALSE((*engine)->ChooseAgain([&asked, patience] { return asked++ >= patience; }));
    EXPECT_EQ(asked, patience + 1) << "it ends when it is told to";
  }
  EXPECT_EQ((*engine)->Description(), before);
}

// A start beside a busy neighbour took minutes, all of them for timing.
TEST_F(CpuEngineTest, MachineThatIsTooBusyToTimeTeamsHasNone) {
  puppet_.has_team = true;
  puppet_.alone = std::chrono::milliseconds(4);
  patience_ = std::chrono::milliseconds(1);
  const auto engine = Make(2);
  ASSERT_THAT(engine, IsOk());
  EXPECT_EQ(choices_.team_rows, 0);
}

TEST_F(CpuEngineTest, NoTeamOfOne) {
  puppet_.has_team = true;
  ASSERT_THAT(Make(1), IsOk());
  EXPECT_EQ(choices_.team_rows, 0);
}

TEST_F(CpuEngineTest, NetworkThatFailsIsToldInWords) {
  puppet_.broken = true;
  EXPECT_THAT(Make(), StatusIs(absl::StatusCode::kInternal, "the network failed: out of order"));
  puppet_.broken = false;
  const auto engine = Make();
  ASSERT_THAT(engine, IsOk());
  puppet_.broken = true;
  EXPECT_THAT((*engine)->Step({Row(0), Row(1)}),
              StatusIs(absl::StatusCode::kInternal, "the network failed: out of order"));
  EXPECT_EQ((*engine)->StepsDone(1), 0) << "so it can be tried again";
  puppet_.broken = false;
  ASSERT_THAT((*engine)->Step({Row(0), Row(1)}), IsOk());
  EXPECT_EQ((*engine)->StepsDone(1), 1);
  EXPECT_TRUE((*engine)->Finite(1));
  EXPECT_EQ(Read(**engine, 1), Expected(1));
}

}  // namespace
}  // namespace denoised
