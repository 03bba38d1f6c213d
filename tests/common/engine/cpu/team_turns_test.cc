#include "common/engine/cpu/team_turns.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

// Steps that take so long, each way.
struct Machine {
  double team = 1, alone = 1;

  // How many of `steps` steps the team gets.
  int Run(TeamTurns& turns, int steps) const {
    int teams = 0;
    for (int i = 0; i < steps; ++i) {
      const bool is_team = turns.TeamIsNext();
      teams += is_team ? 1 : 0;
      turns.Took(is_team ? team : alone);
    }
    return teams;
  }
};

constexpr Machine kQuiet = {.team = 0.4, .alone = 0.66}, kBusy = {.team = 6, .alone = 1};

TEST(TeamTurnsTest, FasterTeamGetsNearlyAllSteps) {
  TeamTurns turns;
  EXPECT_GE(kQuiet.Run(turns, 10000), 9950);
}

TEST(TeamTurnsTest, TeamThatHasBecomeSlowIsGivenUpSoon) {
  TeamTurns turns;
  kQuiet.Run(turns, 1000);
  EXPECT_LE(kBusy.Run(turns, 1000), 30);
  EXPECT_LE(kBusy.Run(turns, 10000), 30) << "what it still gets are tries, more and more rarely";
}

// Each step of a stuck team lasts as long as hundreds: another team on the same cores, at a reload.
TEST(TeamTurnsTest, TeamThatIsStuckIsGivenUpAtOnce) {
  constexpr Machine kStuck = {.team = 100, .alone = 1};
  TeamTurns turns;
  kQuiet.Run(turns, 1000);
  EXPECT_EQ(kStuck.Run(turns, 100), 1);
  EXPECT_LE(kStuck.Run(turns, 10000), 10) << "a try ends after a step";
}

// A server that began beside its neighbour does not know that it could be faster.
TEST(TeamTurnsTest, TeamThatWasAlwaysSlowIsGivenUp) {
  TeamTurns turns;
  EXPECT_LE(kBusy.Run(turns, 10000), 4200);
}

TEST(TeamTurnsTest, TeamComesBackWhenTheNeighbourHasGone) {
  TeamTurns turns;
  kQuiet.Run(turns, 1000);
  kBusy.Run(turns, 1000);
  EXPECT_GE(kQuiet.Run(turns, 2000), 700);
  EXPECT_GE(kQuiet.Run(turns, 10000), 9950);
}

TEST(TeamTurnsTest, OneStallGivesNothingUpForLong) {
  TeamTurns turns;
  kQuiet.Run(turns, 1000);
  Machine{.team = 100, .alone = 100}.Run(turns, 1);
  EXPECT_GE(kQuiet.Run(turns, 1000), 650);
}

TEST(TeamTurnsTest, MachineOnWhichAllIsSlowKeepsItsTeam) {
  TeamTurns turns;
  kQuiet.Run(turns, 1000);
  EXPECT_GE((Machine{.team = 4, .alone = 6.6}.Run(turns, 10000)), 9900);
}

}  // namespace
}  // namespace denoised
