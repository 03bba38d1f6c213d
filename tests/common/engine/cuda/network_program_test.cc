#include "common/engine/cuda/network_program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

// The order that PTX's documentation gives for B of mma.m16n8k16: register 0 of lane l holds rows 2(l%4) and 2(l%4)+1
// of column l/4, register 1 the same 8 rows further down.
TEST(WeightTileIndexTest, IsTheMatrixInstructionsOrder) {
  EXPECT_EQ(WeightTileIndex(Precision::kFp16, 0, 0), 0);
  EXPECT_EQ(WeightTileIndex(Precision::kFp16, 1, 0), 1);
  EXPECT_EQ(WeightTileIndex(Precision::kFp16, 8, 0), 2);
  EXPECT_EQ(WeightTileIndex(Precision::kFp16, 9, 0), 3);
  EXPECT_EQ(WeightTileIndex(Precision::kFp16, 0, 8), 4);      // the second instruction's
  EXPECT_EQ(WeightTileIndex(Precision::kFp16, 2, 0), 8);      // lane 1
  EXPECT_EQ(WeightTileIndex(Precision::kFp16, 0, 1), 32);     // lane 4
  EXPECT_EQ(WeightTileIndex(Precision::kFp16, 15, 15), 255);  // lane 31
}

TEST(WeightTileIndexTest, GivesEachElementAPlace) {
  for (const Precision precision : {Precision::kFp16, Precision::kFp32}) {
    std::set<int> places;
    for (int k = 0; k < kTileDepth; ++k) {
      for (int n = 0; n < kTileChannels; ++n) places.insert(WeightTileIndex(precision, k, n));
    }
    EXPECT_EQ(places.size(), 256u);
    EXPECT_EQ(*places.begin(), 0);
    EXPECT_EQ(*places.rbegin(), 255);
  }
}

TEST(CompileNetworkTest, RefusesPrecisionsOfOtherDevices) {
  EXPECT_THAT(CompileNetwork({}, Precision::kBf16),
              StatusIs(absl::StatusCode::kInvalidArgument, "the CUDA kernel has no bf16"));
}

TEST(CompileNetworkTest, RefusesSizesThatDoNotDivideSayingWhich) {
  UnetWeights weights;
  weights.config.channels = {24, 48, 96};
  EXPECT_THAT(
      CompileNetwork(weights, Precision::kFp16),
      StatusIs(absl::StatusCode::kUnimplemented,
               "a layer of 24 channels in 8 groups, where the CUDA kernel wants powers of two, 32 to 1024 channels "
               "and 4 to 64 of them in a group"));
}

}  // namespace
}  // namespace denoised
