#include "trainer/records/event_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

// From Protobuf's own encoder: Event(wall_time=1.5, step=300, summary=Summary(value=[Value(tag="loss",
// simple_value=0.25)])).SerializeToString().
TEST(EventFileTest, EventIsEncodedAsProtobufDoes) {
  const std::string record = ScalarEvent({.wall_time = 1.5, .step = 300, .scalars = {{"loss", 0.25f}}});
  const std::string data = std::string("\x09\0\0\0\0\0\0\xf8\x3f", 9) + "\x10\xac\x02" + "\x2a\x0d" + "\x0a\x0b" +
                           "\x0a\x04loss" + std::string("\x15\0\0\x80\x3e", 5);
  ASSERT_EQ(record.size(), 12 + data.size() + 4);
  EXPECT_EQ(record.substr(0, 8), std::string(1, static_cast<char>(data.size())) + std::string(7, '\0'));
  EXPECT_EQ(record.substr(12, data.size()), data);
}

TEST(EventFileTest, StepsAfterTheLastAndDamagedRecordsAreCutOff) {
  const std::string first = FirstEvent(1);
  const auto event = [](int64_t step) { return ScalarEvent({.wall_time = 1, .step = step, .scalars = {{"loss", 1}}}); };
  const std::string file = first + event(1) + event(200) + event(300);
  EXPECT_EQ(BytesUpToStep(file, 300), file.size());
  EXPECT_EQ(BytesUpToStep(file, 299), file.size() - event(300).size());
  EXPECT_EQ(BytesUpToStep(file, 0), first.size());
  EXPECT_EQ(BytesUpToStep(file.substr(0, file.size() - 1), 300), file.size() - event(300).size()) << "cut off";
  std::string damaged = file;
  damaged[first.size() + 20] ^= 1;
  EXPECT_EQ(BytesUpToStep(damaged, 300), first.size());
  EXPECT_EQ(BytesUpToStep("", 300), 0u);
}

// TensorBoard's own reader, which checks both checksums of each record. scripts/setup.sh --tensorboard installs it.
TEST(EventFileTest, TensorBoardReadsIt) {
  const std::string python = DENOISED_SOURCE_DIR "/build/tensorboard/bin/python";
  if (!std::filesystem::exists(python)) GTEST_SKIP() << "needs TensorBoard: scripts/setup.sh --tensorboard";
  const TempFolder folder;
  std::string file = FirstEvent(1.5);
  for (const int64_t step : {1, 300}) {
    file += ScalarEvent({.wall_time = 2.5, .step = step, .scalars = {{"loss", 0.25f}, {"learning_rate", 1e-3f}}});
  }
  folder.Write("events.out.tfevents.denoise-train", file);
  constexpr char kRead[] = R"(
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
print(events.file_version, sorted(events.Tags()["scalars"]))
for tag in sorted(events.Tags()["scalars"]):
    print(tag, [(e.step, e.wall_time, round(e.value, 6)) for e in events.Scalars(tag)])
)";
  const ProgramResult result = RunProgram({python, "-c", kRead, folder.path()});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out,
            "2.0 ['learning_rate', 'loss']\n"
            "learning_rate [(1, 2.5, 0.001), (300, 2.5, 0.001)]\n"
            "loss [(1, 2.5, 0.25), (300, 2.5, 0.25)]\n");
}

}  // namespace
}  // namespace denoised
