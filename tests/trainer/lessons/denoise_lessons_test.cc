// The study behind docs/lessons.md, in miniature.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/image/png.h"
#include "tests/testing/mnist_folder.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::HasSubstr;

TEST(DenoiseLessonsTest, DrawsAPictureOfEachLesson) {
  const TempFolder folder;
  const ProgramResult result =
      RunProgram({"denoise-lessons", "--data", SmallMnistFolder(), "--noverify_data", "--out", "out", "--images", "64",
                  "--epochs", "1", "--rows_per_digit", "1", "--num_steps", "4"},
                 {}, folder.path());
  ASSERT_EQ(result.exit_code, 0) << result.err;
  for (const char* lesson : {"as-it-should-be", "one-step", "unit-range", "batch-norm"}) {
    EXPECT_THAT(result.out, HasSubstr(std::string(lesson) + ": "));
  }
  for (const char* picture : {"as-it-should-be", "one-step", "unit-range", "batch-norm", "batch-norm-of-the-batch"}) {
    EXPECT_TRUE(DecodePng(Slurp(folder.File(std::string("out/") + picture + ".png"))).ok()) << picture;
  }
}

}  // namespace
}  // namespace denoised
