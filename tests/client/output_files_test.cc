#include "client/output_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

TEST(OutputFilesTest, DefaultIsANamedFileInThisFolder) {
  const absl::StatusOr<OutputFiles> files = OutputFiles::Prepare("", "digit-7", 1, "");
  ASSERT_THAT(files, IsOk());
  EXPECT_EQ(files->image(0), "digit-7.png");
}

TEST(OutputFilesTest, MoreThanOneAreNumberedToSortWell) {
  const TempFolder folder;
  const absl::StatusOr<OutputFiles> files = OutputFiles::Prepare(folder.File("a.png"), "digit-7", 11, "");
  ASSERT_THAT(files, IsOk());
  EXPECT_EQ(files->image(3), folder.File("a-03.png"));
  EXPECT_EQ(files->image(10), folder.File("a-10.png"));
}

TEST(OutputFilesTest, FolderThatExistsIsFilled) {
  const TempFolder folder;
  const absl::StatusOr<OutputFiles> files = OutputFiles::Prepare(folder.path(), "digit-7", 1, "");
  ASSERT_THAT(files, IsOk());
  EXPECT_EQ(files->image(0), folder.File("digit-7.png"));
}

TEST(OutputFilesTest, SlashAtTheEndMakesAFolder) {
  const TempFolder folder;
  const absl::StatusOr<OutputFiles> files =
      OutputFiles::Prepare(folder.File("new/"), "digit-7", 1, folder.File("frames"));
  ASSERT_THAT(files, IsOk());
  EXPECT_EQ(files->image(0), folder.File("new/digit-7.png"));
  EXPECT_EQ(files->preview(0, 50), folder.File("frames/digit-7-step-0050.png"));
  EXPECT_TRUE(std::filesystem::is_directory(folder.File("new")));
  EXPECT_TRUE(std::filesystem::is_directory(folder.File("frames")));
}

TEST(OutputFilesTest, FileInTheWayOfAFolderIsSaid) {
  const TempFolder folder;
  const std::string file = folder.Write("file", "x");
  const absl::StatusOr<OutputFiles> files = OutputFiles::Prepare(file + "/digit.png", "digit-7", 1, "");
  EXPECT_THAT(files, StatusIs(absl::StatusCode::kNotFound,
                              "cannot create the folder " + file + ": Not a directory; choose another with --out"));
  EXPECT_EQ(Slurp(file), "x");
}

TEST(FileSafeTest, NamesOfClassesBecomeNamesOfFiles) {
  EXPECT_EQ(FileSafe("sneaker"), "sneaker");
  EXPECT_EQ(FileSafe("Ankle boot"), "Ankle-boot");
  EXPECT_EQ(FileSafe("T-shirt/top"), "T-shirt-top");
  EXPECT_EQ(FileSafe("a"), "a");
  EXPECT_EQ(FileSafe("A"), "A") << "another class";
  EXPECT_EQ(FileSafe("Fußball 水"), "Fußball-水");
}

TEST(FileSafeTest, NothingLeadsOutOfTheFolder) {
  EXPECT_EQ(FileSafe("../../etc/passwd"), "etc-passwd");
  EXPECT_EQ(FileSafe("-rf"), "rf");
  EXPECT_EQ(FileSafe("a\n\x1b[31m\xc2\x9b\xff"), "a-31m");
  EXPECT_EQ(FileSafe(".."), "class");
  EXPECT_LE(FileSafe(std::string(10'000, 'x')).size(), 67u);
}

}  // namespace
}  // namespace denoised
