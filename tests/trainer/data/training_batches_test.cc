#include "trainer/data/training_batches.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <optional>

#include "common/image/image.h"
#include "tests/testing/mnist_folder.h"

namespace denoised {
namespace {

class TrainingBatchesTest : public testing::Test {
 protected:
  const Dataset data_ = *LoadMnist(SmallMnistFolder(), Split::kTrain, {.verify_checksums = false});
  const NoiseSchedule schedule_ = *NoiseSchedule::Create({});
};

TEST_F(TrainingBatchesTest, FixedRowsAreSpreadOverAllTimesteps) {
  const TrainingBatches batches(data_, schedule_, {.rows = 16, .null_label = 10, .label_dropout = 0.9});
  const TrainingBatch all = batches.MakeFixed(0, 256);
  EXPECT_EQ(all.t[0].item<int64_t>(), 1);      // floor(0.5 * 1000 / 256)
  EXPECT_EQ(all.t[255].item<int64_t>(), 998);  // floor(255.5 * 1000 / 256)
  EXPECT_EQ(all.t.diff().min().item<int64_t>(), 3);
  EXPECT_EQ(all.t.diff().max().item<int64_t>(), 4);
  for (int i = 0; i < 256; ++i) EXPECT_EQ(all.y[i].item<int64_t>(), data_.labels[i]) << "no label is hidden";
}

TEST_F(TrainingBatchesTest, FixedRowsAreTheSameWhateverTheSeedAndWhatCameBefore) {
  TrainingBatches one(data_, schedule_, {.rows = 16, .null_label = std::nullopt, .seed = 1});
  TrainingBatches other(data_, schedule_, {.rows = 16, .null_label = std::nullopt, .seed = 2});
  other.StartEpoch(3);
  other.Make(1);
  const TrainingBatch a = one.MakeFixed(32, 8), b = other.MakeFixed(32, 8);
  EXPECT_TRUE(torch::equal(a.x, b.x));
  EXPECT_TRUE(torch::equal(a.target, b.target));
  // x = sqrt(alphas_cumprod) clean + sqrt(1 - alphas_cumprod) noise
  const int64_t t = a.t[0].item<int64_t>();
  const double signal = std::sqrt(schedule_.alphas_cumprod()[t]), noise = std::sqrt(1 - schedule_.alphas_cumprod()[t]);
  const at::Tensor clean = (a.x[0] - noise * a.target[0]) / signal;
  const float first_pixel = static_cast<float>(data_.pixels[size_t{32} * kModelPixels]) / 127.5f - 1;
  EXPECT_NEAR(clean[0][0][0].item<float>(), first_pixel, 1e-4);
}

// 256 images in batches of 60: four whole ones, and 16 images.
TEST_F(TrainingBatchesTest, LastBatchIsKeptWhereItIsAskedFor) {
  TrainingBatches dropped(data_, schedule_, {.rows = 60, .null_label = std::nullopt});
  EXPECT_EQ(dropped.per_epoch(), 4);
  EXPECT_EQ(dropped.images_per_epoch(), 240);
  TrainingBatches kept(data_, schedule_, {.rows = 60, .null_label = std::nullopt, .keep_last = true});
  EXPECT_EQ(kept.per_epoch(), 5);
  EXPECT_EQ(kept.images_per_epoch(), 256);
  kept.StartEpoch(0);
  dropped.StartEpoch(0);
  EXPECT_TRUE(torch::equal(kept.Make(3).x, dropped.Make(3).x));
  EXPECT_EQ(kept.Make(3).all_rows, 60);
  EXPECT_EQ(kept.Make(4).x.size(0), 16);
  EXPECT_EQ(kept.Make(4).all_rows, 16);
}

TEST_F(TrainingBatchesTest, ProcessesShareALastBatchThatIsUneven) {
  // 256 = 3 * 85 + 1: too few for three processes. 256 = 3 * 83 + 7: three, two and two rows.
  EXPECT_EQ(TrainingBatches(data_, schedule_, {.rows = 85, .null_label = std::nullopt, .keep_last = true, .ranks = 3})
                .images_per_epoch(),
            255);
  TrainingBatches whole(data_, schedule_, {.rows = 249, .null_label = std::nullopt, .keep_last = true});
  whole.StartEpoch(0);
  std::vector<at::Tensor> shares;
  for (const int rank : {0, 1, 2}) {
    TrainingBatches one(data_, schedule_,
                        {.rows = 83, .null_label = std::nullopt, .keep_last = true, .rank = rank, .ranks = 3});
    one.StartEpoch(0);
    shares.push_back(one.Make(1).x);
    EXPECT_EQ(one.Make(1).all_rows, 7);
  }
  EXPECT_EQ(shares[0].size(0), 3);
  EXPECT_EQ(shares[2].size(0), 2);
  EXPECT_TRUE(torch::equal(torch::cat(shares), whole.Make(1).x));
}

TEST_F(TrainingBatchesTest, MakingFixedRowsChangesNoBatch) {
  TrainingBatches undisturbed(data_, schedule_, {.rows = 16, .null_label = std::nullopt}),
      disturbed(data_, schedule_, {.rows = 16, .null_label = std::nullopt});
  undisturbed.StartEpoch(0);
  disturbed.StartEpoch(0);
  disturbed.MakeFixed(0, 4);
  EXPECT_TRUE(torch::equal(undisturbed.Make(0).x, disturbed.Make(0).x));
}

}  // namespace
}  // namespace denoised
