#include "trainer/data/training_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "common/image/idx.h"
#include "common/image/image.h"
#include "common/image/png.h"
#include "tests/testing/mnist_folder.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::ElementsAre;

constexpr uint32_t kSize = 16;

class TrainingSetTest : public testing::Test {
 protected:
  // An image for each label.
  void WriteIdx(const std::string& labels) {
    const auto count = static_cast<uint32_t>(labels.size());
    folder_.Write("train-images-idx3-ubyte", IdxHeader({count, kSize, kSize}) + std::string(count * kSize * kSize, 9));
    folder_.Write("train-labels-idx1-ubyte", IdxHeader({count}) + labels);
  }
  absl::StatusOr<Dataset> Load(const std::string& class_names = "") {
    return LoadTrainingSet(folder_.path(), {.verify_checksums = false, .class_names = class_names});
  }

  TempFolder folder_;
};

TEST_F(TrainingSetTest, MnistIsDigits) {
  const absl::StatusOr<Dataset> data = LoadTrainingSet(SmallMnistFolder(), {.verify_checksums = false});
  ASSERT_THAT(data, IsOk());
  EXPECT_THAT(data->class_names, ElementsAre("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"));
}

TEST_F(TrainingSetTest, OtherIdxFilesHaveAsManyClassesAsTheirLabels) {
  WriteIdx({"\x02\x00\x01", 3});
  const absl::StatusOr<Dataset> data = Load();
  ASSERT_THAT(data, IsOk());
  EXPECT_THAT(data->class_names, ElementsAre("0", "1", "2"));
  EXPECT_THAT(data->pixels, testing::AllOf(testing::SizeIs(3 * kModelPixels), testing::Each(9)));
}

TEST_F(TrainingSetTest, NamesComeFromTheFlagOrFromAFile) {
  WriteIdx({"\x02\x00\x01", 3});
  folder_.Write("class_names.txt",
                "\xEF\xBB\xBF"
                "ant\nbee\ncat\n");  // as an editor of Windows writes it
  EXPECT_THAT(Load()->class_names, ElementsAre("ant", "bee", "cat"));
  EXPECT_THAT(Load("x,y,z")->class_names, ElementsAre("x", "y", "z"));
}

TEST_F(TrainingSetTest, LabelsAndNamesMustAgree) {
  WriteIdx({"\x02\x00\x01", 3});
  EXPECT_THAT(Load("x,y"), StatusIs(absl::StatusCode::kInvalidArgument,
                                    folder_.File("train-labels-idx1-ubyte") + ": label 0 is 2, expected 0 to 1"));
  EXPECT_THAT(Load("x,y,z,w"), StatusIs(absl::StatusCode::kInvalidArgument,
                                        "class 3, \"w\", has no images in " + folder_.path() +
                                            ": a network cannot learn it; number the classes without gaps"));
}

TEST_F(TrainingSetTest, PngsByClass) {
  std::filesystem::create_directory(folder_.File("bee"));
  folder_.Write("bee/1.png", *EncodePng({.width = 8, .height = 8, .pixels = std::vector<uint8_t>(64, 50)}));
  const absl::StatusOr<Dataset> data = LoadTrainingSet(folder_.path(), {});
  ASSERT_THAT(data, IsOk()) << "whose sums nobody knows";
  EXPECT_THAT(data->class_names, ElementsAre("bee"));
  EXPECT_EQ(data->size(), 1u);
}

TEST_F(TrainingSetTest, AnEmptyFolderHearsOfBothForms) {
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kNotFound,
                               testing::EndsWith("scripts/download_mnist.sh fetches MNIST, --data names its folder; a "
                                                 "data set of one's own may also be a folder of PNGs for each class in "
                                                 "it")));
}

}  // namespace
}  // namespace denoised
