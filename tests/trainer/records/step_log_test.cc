#include "trainer/records/step_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "trainer/records/event_file.h"

namespace denoised {
namespace {

StepRecord Step(int64_t step) {
  return {.step = step,
          .epoch = 1,
          .batch = step,
          .loss = 0.5,
          .gradient_norm = 2.25,
          .learning_rate = 1e-3,
          .images_per_second = 880.5,
          .wall_time = 12};
}

class StepLogTest : public testing::Test {
 protected:
  // Steps `first` to `last`, after a run that had taken `before`.
  void Log(int64_t before, int64_t first, int64_t last) {
    absl::StatusOr<StepLog> log = StepLog::Open(folder_.path(), before, /*wall_time=*/11);
    ASSERT_THAT(log, IsOk());
    for (int64_t step = first; step <= last; ++step) log->Add(Step(step));
    ASSERT_THAT(log->Flush(), IsOk());
  }

  TempFolder folder_;
  const StepLogFiles files_{folder_.path()};
};

TEST_F(StepLogTest, EachStepIsALineOfBothTextsAndAnEvent) {
  Log(0, 1, 2);
  const std::string rest = R"("loss":0.5,"gradient_norm":2.25,"learning_rate":0.001,"images_per_second":880.5})";
  EXPECT_EQ(Slurp(files_.json),
            R"({"step":1,"epoch":1,"batch":1,)" + rest + "\n" + R"({"step":2,"epoch":1,"batch":2,)" + rest + "\n");
  EXPECT_EQ(Slurp(files_.csv),
            "step,epoch,batch,loss,gradient_norm,learning_rate,images_per_second\n"
            "1,1,1,0.5,2.25,0.001,880.5\n"
            "2,1,2,0.5,2.25,0.001,880.5\n");
  std::string events = FirstEvent(11);
  for (const int64_t step : {1, 2}) {
    events += ScalarEvent(
        {.wall_time = 12,
         .step = step,
         .scalars = {
             {"loss", 0.5f}, {"gradient_norm", 2.25f}, {"learning_rate", 1e-3f}, {"images_per_second", 880.5f}}});
  }
  EXPECT_EQ(Slurp(files_.events), events);
}

TEST_F(StepLogTest, StepsOfAKilledRunThatAreTakenAgainAreThereOnce) {
  Log(0, 1, 4);
  const std::string json = Slurp(files_.json), csv = Slurp(files_.csv), events = Slurp(files_.events);
  folder_.Write("steps.jsonl", json + "{\"step\":5,\"ep");  // cut off in the middle of a line
  folder_.Write("steps.csv", csv + "5,1");
  Log(2, 3, 4);
  EXPECT_EQ(Slurp(files_.json), json);
  EXPECT_EQ(Slurp(files_.csv), csv);
  EXPECT_EQ(Slurp(files_.events), events);
}

TEST_F(StepLogTest, FolderThatHasGoneIsSaid) {
  EXPECT_THAT(StepLog::Open("/nowhere", 0, 1),
              StatusIs(absl::StatusCode::kNotFound, testing::HasSubstr("cannot write /nowhere/steps.jsonl")));
  absl::StatusOr<StepLog> log = StepLog::Open(folder_.path(), 0, 1);
  ASSERT_THAT(log, IsOk());
  log->Add(Step(1));
  std::filesystem::remove(files_.json);
  std::filesystem::create_directory(files_.json);
  EXPECT_EQ(log->Flush().message().substr(0, 12), "cannot write");
}

}  // namespace
}  // namespace denoised
