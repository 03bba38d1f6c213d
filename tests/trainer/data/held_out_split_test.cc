#include "trainer/data/held_out_split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "absl/strings/str_join.h"
#include "common/image/image.h"
#include "common/support/digest.h"
#include "tests/testing/mnist_folder.h"
#include "tests/testing/status_matchers.h"
#include "trainer/data/mnist.h"

namespace denoised {
namespace {

using testing::ElementsAre;

// Images of each digit among those.
std::vector<int> Counts(const std::vector<uint8_t>& labels, const std::vector<int64_t>& indices) {
  std::vector<int> counts(10);
  for (const int64_t i : indices) ++counts[labels[i]];
  return counts;
}

std::vector<int64_t> All(size_t count) {
  std::vector<int64_t> all(count);
  std::iota(all.begin(), all.end(), int64_t{0});
  return all;
}

std::vector<int64_t> Union(const SplitIndices& split) {
  std::vector<int64_t> both = split.kept;
  both.insert(both.end(), split.held_out.begin(), split.held_out.end());
  std::sort(both.begin(), both.end());
  return both;
}

// The expected values of both data sets are from another program, in Python, written from the header's rule.
TEST(HeldOutSplitTest, IsTheSameForEverybody) {
  if (WholeMnistFolder().empty()) GTEST_SKIP() << "the whole of MNIST is not here; see tests/data/README.md";
  const Dataset mnist = *LoadMnist(WholeMnistFolder(), Split::kTrain, {});
  const absl::StatusOr<SplitIndices> split = HeldOutSplit(mnist.labels, kHeldOutImages);
  ASSERT_THAT(split, IsOk());
  EXPECT_EQ(split->held_out.size(), 10'000u);
  EXPECT_EQ(Sha256Hex(absl::StrJoin(split->held_out, " ")),
            "232c56425b0a8bc58403a40b40e340626cb74503e5db6fade01561713b199c5e");
  EXPECT_THAT(Counts(mnist.labels, split->held_out), ElementsAre(987, 1124, 993, 1022, 974, 904, 986, 1044, 975, 991));
  EXPECT_EQ(Union(*split), All(60'000));
}

TEST(HeldOutSplitTest, TakesFromEveryDigitWhatItsShareIs) {
  const Dataset data = *LoadMnist(SmallMnistFolder(), Split::kTrain, {.verify_checksums = false});
  ASSERT_THAT(Counts(data.labels, All(256)), ElementsAre(30, 35, 25, 30, 24, 17, 24, 26, 19, 26));
  const absl::StatusOr<SplitIndices> split = HeldOutSplit(data.labels, 32);
  ASSERT_THAT(split, IsOk());
  EXPECT_THAT(Counts(data.labels, split->held_out), ElementsAre(4, 5, 3, 4, 3, 2, 3, 3, 2, 3));
  EXPECT_EQ(Sha256Hex(absl::StrJoin(split->held_out, " ")),
            "beeb1d3b650e5c0807c0801141829ac714ad4df51a3137698ca4f47d64c2d902");
  EXPECT_EQ(Union(*split), All(256));
}

TEST(HeldOutSplitTest, OfEqualRemaindersTheLowerClassGivesOneMore) {
  const std::vector<uint8_t> labels = {7, 7, 7, 2, 2, 2};
  const absl::StatusOr<SplitIndices> split = HeldOutSplit(labels, 3);
  ASSERT_THAT(split, IsOk());
  EXPECT_EQ(Counts(labels, split->held_out)[2], 2);
  EXPECT_EQ(Counts(labels, split->held_out)[7], 1);
}

TEST(HeldOutSplitTest, NoneHeldOutKeepsAll) {
  const absl::StatusOr<SplitIndices> split = HeldOutSplit({1, 2, 3}, 0);
  ASSERT_THAT(split, IsOk());
  EXPECT_THAT(split->kept, ElementsAre(0, 1, 2));
  EXPECT_THAT(split->held_out, ElementsAre());
}

TEST(HeldOutSplitTest, SomeMustBeLeft) {
  EXPECT_THAT(HeldOutSplit({1, 2, 3}, 3), StatusIs(absl::StatusCode::kInvalidArgument,
                                                   "cannot hold out 3 of 3 images: some must be left to learn from"));
  EXPECT_THAT(HeldOutSplit({1, 2, 3}, -1), StatusIs(absl::StatusCode::kInvalidArgument,
                                                    "cannot hold out -1 of 3 images: some must be left to learn from"));
}

TEST(SubsetTest, TakesPixelsAndLabelsTogether) {
  const Dataset data = *LoadMnist(SmallMnistFolder(), Split::kTrain, {.verify_checksums = false});
  const Dataset subset = Subset(data, {5, 3});
  ASSERT_EQ(subset.size(), 2u);
  EXPECT_THAT(subset.labels, ElementsAre(data.labels[5], data.labels[3]));
  ASSERT_EQ(subset.pixels.size(), 2u * kModelPixels);
  const auto third = data.pixels.begin() + 3 * kModelPixels;
  EXPECT_TRUE(std::equal(third, third + kModelPixels, subset.pixels.begin() + kModelPixels));
  EXPECT_EQ(subset.sha256, data.sha256);
}

}  // namespace
}  // namespace denoised
