#include "trainer/data/mnist.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <numeric>

#include "common/image/image.h"
#include "tests/testing/mnist_folder.h"
#include "tests/testing/program.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const MnistOptions kAnyData{.verify_checksums = false};

std::string BigEndian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 0xff);
  return bytes;
}

std::string ImagesFile(uint32_t count, uint32_t magic = 0x803, uint32_t size = 28) {
  return BigEndian(magic) + BigEndian(count) + BigEndian(size) + BigEndian(size) +
         std::string(size_t{count} * size * size, '\x07');
}

std::string LabelsFile(const std::string& labels, uint32_t magic = 0x801) {
  return BigEndian(magic) + BigEndian(static_cast<uint32_t>(labels.size())) + labels;
}

class MnistTest : public testing::Test {
 protected:
  void Write(const std::string& images, const std::string& labels) {
    folder_.Write("train-images-idx3-ubyte", images);
    folder_.Write("train-labels-idx1-ubyte", labels);
  }
  absl::StatusOr<Dataset> Load(const MnistOptions& options = kAnyData) {
    return LoadMnist(folder_.path(), Split::kTrain, options);
  }
  std::string images() const { return folder_.File("train-images-idx3-ubyte"); }
  std::string labels() const { return folder_.File("train-labels-idx1-ubyte"); }

  TempFolder folder_;
};

TEST_F(MnistTest, RealImagesAreResizedAndLabelled) {
  const absl::StatusOr<Dataset> data = LoadMnist(SmallMnistFolder(), Split::kTrain, kAnyData);
  ASSERT_THAT(data, IsOk());
  EXPECT_EQ(data->size(), 256u);
  EXPECT_EQ(data->pixels.size(), 256u * kModelPixels);
  EXPECT_THAT(std::vector<int>(data->labels.begin(), data->labels.begin() + 10),
              testing::ElementsAre(5, 0, 4, 1, 9, 2, 1, 3, 1, 4));  // as MNIST begins
  // White ink in the middle, black at the edge, in the first image.
  EXPECT_EQ(*std::max_element(data->pixels.begin(), data->pixels.begin() + kModelSize), 0);
  EXPECT_GT(*std::max_element(data->pixels.begin(), data->pixels.begin() + kModelPixels), 250);
}

TEST_F(MnistTest, WholeDataSetHasItsChecksums) {
  if (WholeMnistFolder().empty()) GTEST_SKIP() << "the whole of MNIST is not here; see tests/data/README.md";
  const absl::StatusOr<Dataset> train = LoadMnist(WholeMnistFolder(), Split::kTrain, {});
  ASSERT_THAT(train, IsOk());
  EXPECT_EQ(train->size(), 60'000u);
  EXPECT_EQ(std::count(train->labels.begin(), train->labels.end(), 5), 5421);
  const absl::StatusOr<Dataset> test = LoadMnist(WholeMnistFolder(), Split::kTest, {});
  ASSERT_THAT(test, IsOk());
  EXPECT_EQ(test->size(), 10'000u);
}

TEST_F(MnistTest, PlainFilesAreReadToo) {
  Write(ImagesFile(2), LabelsFile({"\x03\x09"}));
  const absl::StatusOr<Dataset> data = Load();
  ASSERT_THAT(data, IsOk());
  EXPECT_THAT(data->labels, testing::ElementsAre(3, 9));
  EXPECT_THAT(data->pixels, testing::Each(7));
  EXPECT_EQ(data->sha256[0].first, "train-images-idx3-ubyte");
}

// As Kaggle and some unpackers name them.
TEST_F(MnistTest, NamesWithADotAreTheSameFiles) {
  folder_.Write("train-images.idx3-ubyte", ImagesFile(2));
  folder_.Write("train-labels.idx1-ubyte.gz", Slurp(SmallMnistFolder() + "/train-labels-idx1-ubyte.gz"));
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument,
                               folder_.File("train-images.idx3-ubyte") + " holds 2 images, but " +
                                   folder_.File("train-labels.idx1-ubyte.gz") + " holds 256 labels"));
  std::filesystem::remove(folder_.File("train-labels.idx1-ubyte.gz"));
  folder_.Write("train-labels.idx1-ubyte", LabelsFile({"\x03\x09"}));
  const absl::StatusOr<Dataset> data = Load();
  ASSERT_THAT(data, IsOk());
  EXPECT_THAT(data->labels, testing::ElementsAre(3, 9));
  EXPECT_EQ(data->sha256[0].first, "train-images-idx3-ubyte") << "one name in every record";
}

TEST_F(MnistTest, PlainBytesNamedGzAndPackedOnesThatAreNotAreUnderstood) {
  folder_.Write("train-images-idx3-ubyte.gz", ImagesFile(256));
  folder_.Write("train-labels-idx1-ubyte", Slurp(SmallMnistFolder() + "/train-labels-idx1-ubyte.gz"));
  const absl::StatusOr<Dataset> data = Load();
  ASSERT_THAT(data, IsOk());
  EXPECT_EQ(data->size(), 256u);
  EXPECT_EQ(data->labels[0], 5);
}

TEST_F(MnistTest, MissingFileIsNamedWithWhatToDo) {
  EXPECT_THAT(Load(),
              StatusIs(absl::StatusCode::kNotFound,
                       "neither train-images-idx3-ubyte nor train-images.idx3-ubyte is in " + folder_.path() +
                           ", gzipped (.gz) or not; scripts/download_mnist.sh fetches MNIST, --data names its folder"));
}

TEST(MnistFolderTest, MissingFolderIsNamedToo) {
  EXPECT_THAT(
      LoadMnist("/nowhere", Split::kTrain, {}),
      StatusIs(absl::StatusCode::kNotFound,
               "there is no folder /nowhere; scripts/download_mnist.sh fetches MNIST, --data names its folder"));
}

TEST_F(MnistTest, TruncatedFile) {
  const std::string whole = ImagesFile(2);
  Write(whole.substr(0, 1000), LabelsFile("12"));
  EXPECT_THAT(Load(),
              StatusIs(absl::StatusCode::kDataLoss, images() + " is truncated or has extra bytes: 1000 bytes, its "
                                                               "header promises 1584; fetch it again"));
  Write(whole.substr(0, 3), LabelsFile("12"));
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kDataLoss,
                               images() + " holds 3 bytes, less than an IDX header; fetch it again"));
}

// As pigz and others write them.
TEST_F(MnistTest, GzipFileOfSeveralMembersIsReadWhole) {
  const std::string images = ImagesFile(2);
  folder_.Write("a", images.substr(0, 500));
  folder_.Write("b", images.substr(500));
  ASSERT_EQ(RunProgram({"/bin/sh", "-c", "for part in a b; do gzip -c $part; done >train-images-idx3-ubyte.gz"}, {},
                       folder_.path())
                .exit_code,
            0);
  folder_.Write("train-labels-idx1-ubyte", LabelsFile(std::string("\1\2", 2)));
  ASSERT_THAT(Load(), IsOk());
  EXPECT_EQ(Load()->size(), 2u);
}

TEST_F(MnistTest, TruncatedGzipFile) {
  const std::string packed = Slurp(SmallMnistFolder() + "/train-images-idx3-ubyte.gz");
  folder_.Write("train-images-idx3-ubyte.gz", packed.substr(0, packed.size() / 2));
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kDataLoss,
                               images() + ".gz is not a whole gzip file: it ends too early; fetch it again"));
  folder_.Write("train-images-idx3-ubyte.gz", "<html>");
  EXPECT_THAT(Load(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("is not a whole gzip file: incorrect header check")));
}

TEST_F(MnistTest, WrongMagicNumber) {
  Write(ImagesFile(2, 0x801), LabelsFile("12"));
  EXPECT_THAT(Load(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       images() + " is not the right kind of IDX file: its magic number is 0x00000801, expected "
                                  "0x00000803"));
}

TEST_F(MnistTest, WrongChecksum) {
  Write(ImagesFile(2), LabelsFile({"\x01\x02"}));
  EXPECT_THAT(Load({}),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr(images() + " is not MNIST's file: the SHA-256 of its unpacked bytes is "),
                             HasSubstr("fetch it again, or use --noverify_data"))));
}

TEST_F(MnistTest, WrongSizeCountAndLabel) {
  Write(ImagesFile(2, 0x803, 7), LabelsFile({"\x01\x02"}));
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument,
                               images() + " holds images of 7x7 pixels, expected square ones of 8x8 to 1024x1024"));
  Write(ImagesFile(3), LabelsFile({"\x01\x02"}));
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument,
                               images() + " holds 3 images, but " + labels() + " holds 2 labels"));
  Write(ImagesFile(2), LabelsFile({"\x01\x0a"}));
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument, labels() + ": label 1 is 10, expected 0 to 9"));
}

TEST_F(MnistTest, DrawnDigitsOf32PixelsStayAsTheyAre) {
  const std::string pixels = [] {
    std::string bytes(size_t{2} * kModelPixels, '\0');
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i % 251);
    return bytes;
  }();
  folder_.Write("samples-images-idx3-ubyte",
                BigEndian(0x803) + BigEndian(2) + BigEndian(kModelSize) + BigEndian(kModelSize) + pixels);
  folder_.Write("samples-labels-idx1-ubyte", LabelsFile({"\x07\x02"}));
  const absl::StatusOr<Dataset> data = LoadMnist(folder_.path(), Split::kDrawn, {.verify_checksums = true});
  ASSERT_THAT(data, IsOk()) << "nobody knows their sums";
  EXPECT_EQ(std::string(data->pixels.begin(), data->pixels.end()), pixels);
  EXPECT_THAT(data->labels, testing::ElementsAre(7, 2));
}

// A header may promise more than memory holds.
TEST_F(MnistTest, ImmensePromiseIsATruncatedFile) {
  Write(BigEndian(0x803) + BigEndian(~0u) + BigEndian(~0u) + BigEndian(~0u), LabelsFile("12"));
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("is truncated or has extra bytes: 16 bytes")));
}

}  // namespace
}  // namespace denoised
