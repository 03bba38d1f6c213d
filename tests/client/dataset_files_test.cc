#include "client/dataset_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "common/support/digest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

const Json kDrawnWith = {{"--seed", "7"}, {"--steps", 20}};

// Images of 2x2 pixels.
class DatasetFilesTest : public testing::Test {
 protected:
  absl::StatusOr<DatasetFiles> Open(const Json& drawn_with = kDrawnWith) {
    return DatasetFiles::Open(folder_.File("set"), 2, drawn_with, {"cat", "dog", "bird"});
  }
  std::string Images() { return Slurp(folder_.File("set/train-images-idx3-ubyte")); }
  std::string Labels() { return Slurp(folder_.File("set/train-labels-idx1-ubyte")); }
  Json Manifest() { return Json::parse(Slurp(folder_.File("set/manifest.json"))); }

  TempFolder folder_;
};

TEST_F(DatasetFilesTest, GrowsAsAnIdxFile) {
  absl::StatusOr<DatasetFiles> files = Open();
  ASSERT_THAT(files, IsOk());
  ASSERT_THAT(files->Append("aaaabbbb", {"\0\1", 2}), IsOk());
  ASSERT_THAT(files->Append("cccc", "\2"), IsOk());
  EXPECT_EQ(files->images(), 3);
  EXPECT_EQ(Images(), std::string({0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2}) + "aaaabbbbcccc");
  EXPECT_EQ(Labels(), std::string({0, 0, 8, 1, 0, 0, 0, 3, 0, 1, 2}));
  EXPECT_EQ(Manifest()["images"], 3);
  EXPECT_EQ(Manifest()["complete"], false);
  EXPECT_EQ(Manifest()["class_names"], Json({"cat", "dog", "bird"}));
  EXPECT_EQ(Slurp(folder_.File("set/class_names.txt")), "cat\ndog\nbird\n");
  ASSERT_THAT(files->Finish(), IsOk());
  EXPECT_EQ(Manifest()["complete"], true);
  EXPECT_EQ(Manifest()["sha256"]["train-images-idx3-ubyte"], Sha256Hex(Images()));
}

TEST_F(DatasetFilesTest, GoesOnAfterTheLastAppendThatEnded) {
  ASSERT_THAT(Open()->Append("aaaa", "\1"), IsOk());
  // What a power cut may leave: more bytes than the manifest knows, and a header that is ahead of it.
  const std::string known = Images();
  std::string ahead = known + "bb";
  ahead[7] = 9;
  folder_.Write("set/train-images-idx3-ubyte", ahead);
  absl::StatusOr<DatasetFiles> files = Open();
  ASSERT_THAT(files, IsOk());
  EXPECT_EQ(files->images(), 1);
  ASSERT_THAT(files->Append("cccc", "\2"), IsOk());
  EXPECT_EQ(Images(), std::string({0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2}) + "aaaacccc");
}

TEST_F(DatasetFilesTest, FirstAppendThatFailsIsNoHindrance) {
  std::filesystem::create_directory(folder_.File("set"));
  std::filesystem::create_symlink("/dev/full", folder_.File("set/train-labels-idx1-ubyte"));
  DatasetFiles files = [&] {
    std::filesystem::rename(folder_.File("set/train-labels-idx1-ubyte"), folder_.File("full"));
    absl::StatusOr<DatasetFiles> opened = Open();
    std::filesystem::rename(folder_.File("full"), folder_.File("set/train-labels-idx1-ubyte"));
    return *std::move(opened);
  }();
  EXPECT_FALSE(files.Append("aaaa", "\1").ok());
  std::filesystem::remove(folder_.File("set/train-labels-idx1-ubyte"));
  absl::StatusOr<DatasetFiles> again = Open();
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->images(), 0);
  ASSERT_THAT(again->Append("bbbb", "\2"), IsOk());
  EXPECT_EQ(Images(), std::string({0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2}) + "bbbb");
}

TEST_F(DatasetFilesTest, HeaderThatIsAheadIsSetRightEvenIfNothingMoreComes) {
  ASSERT_THAT(Open()->Append("aaaa", "\1"), IsOk());
  const std::string right = Images();
  std::string ahead = right + "bbbb";
  ahead[7] = 2;
  folder_.Write("set/train-images-idx3-ubyte", ahead);
  absl::StatusOr<DatasetFiles> files = Open();
  ASSERT_THAT(files, IsOk());
  ASSERT_THAT(files->Finish(), IsOk());
  EXPECT_EQ(Images(), right);
}

TEST_F(DatasetFilesTest, NullTakesWhatTheEarlierRunHad) {
  ASSERT_THAT(Open()->Append("aaaa", "\1"), IsOk());
  const absl::StatusOr<DatasetFiles> files = Open({{"--seed", nullptr}, {"--steps", 20}});
  ASSERT_THAT(files, IsOk());
  EXPECT_EQ(files->drawn_with()["--seed"], "7");
}

TEST_F(DatasetFilesTest, OtherSettingsAreRefusedAndNothingIsLost) {
  ASSERT_THAT(Open()->Append("aaaa", "\1"), IsOk());
  EXPECT_THAT(
      Open({{"--seed", "7"}, {"--steps", 50}}),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               folder_.File("set") + " holds images drawn with --steps 20, not 50; go on with them as they were "
                                     "begun, or name another folder with --out"));
  EXPECT_EQ(Images().size(), 20u);
}

TEST_F(DatasetFilesTest, FilesOfOthersAreLeftAlone) {
  std::filesystem::create_directory(folder_.File("set"));
  folder_.Write("set/train-images-idx3-ubyte", "MNIST");
  EXPECT_THAT(Open(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("train-images-idx3-ubyte is there, and no manifest.json that says what it is")));
  EXPECT_EQ(Images(), "MNIST");
  for (const char* manifest : {"", "[]", "{\"images\": -1, \"drawn_with\": {}}", "{\"images\": 1}"}) {
    folder_.Write("set/manifest.json", manifest);
    EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("manifest.json is not one of `denoise dataset`")))
        << manifest;
  }
}

TEST_F(DatasetFilesTest, FilesThatAreTooShortAreSaid) {
  ASSERT_THAT(Open()->Append("aaaa", "\1"), IsOk());
  std::filesystem::resize_file(folder_.File("set/train-images-idx3-ubyte"), 18);
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kDataLoss,
                               HasSubstr("train-images-idx3-ubyte is missing or shorter than manifest.json says")));
}

TEST_F(DatasetFilesTest, FullDiskIsSaidAndWhatWasThereCounts) {
  absl::StatusOr<DatasetFiles> files = Open();
  ASSERT_THAT(files->Append("aaaa", "\1"), IsOk());
  std::filesystem::remove(folder_.File("set/train-labels-idx1-ubyte"));
  std::filesystem::create_symlink("/dev/full", folder_.File("set/train-labels-idx1-ubyte"));
  EXPECT_THAT(files->Append("bbbb", "\2"), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("cannot write ")));
  EXPECT_EQ(Manifest()["images"], 1);
}

}  // namespace
}  // namespace denoised
