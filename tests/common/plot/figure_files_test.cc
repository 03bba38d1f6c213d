#include "common/plot/figure_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

TEST(FigureFilesTest, PlotGoesBesideTheFigures) {
  const TempFolder folder;
  const absl::StatusOr<FigureFiles> files = FigureFiles::Create(folder.File("load.json"), "--out");
  ASSERT_THAT(files, IsOk());
  EXPECT_TRUE(files->wanted());
  EXPECT_EQ(files->folder(), folder.path());
  ASSERT_THAT(files->Write("{}\n", std::string("picture")), IsOk());
  EXPECT_EQ(Slurp(folder.File("load.json")), "{}\n");
  EXPECT_EQ(Slurp(folder.File("load.png")), "picture");
  EXPECT_EQ(files->ToString(),
            "Figures:  " + folder.File("load.json") + "\nPlot:     " + folder.File("load.png") + "\n");
}

TEST(FigureFilesTest, NameWithoutAFolderIsInThisOne) {
  const absl::StatusOr<FigureFiles> files = FigureFiles::Create("load.json", "--out");
  ASSERT_THAT(files, IsOk());
  EXPECT_EQ(files->folder(), ".");
  EXPECT_EQ(files->ToString(), "Figures:  load.json\nPlot:     load.png\n");
}

TEST(FigureFilesTest, NoNameMeansNoFiles) {
  const absl::StatusOr<FigureFiles> files = FigureFiles::Create("", "--out");
  ASSERT_THAT(files, IsOk());
  EXPECT_FALSE(files->wanted());
}

TEST(FigureFilesTest, OtherEndingsAreRefusedInTheFlagsName) {
  EXPECT_THAT(FigureFiles::Create("a.txt", "--out"),
              StatusIs(absl::StatusCode::kInvalidArgument, "--out must end in .json, got a.txt"));
  EXPECT_THAT(
      FigureFiles::Create("a.json/", "--figures", "; or leave it out"),
      StatusIs(absl::StatusCode::kInvalidArgument, "--figures must end in .json, got a.json/; or leave it out"));
}

TEST(FigureFilesTest, FolderThatCannotBeWrittenIsSaidBeforeAnythingIsMeasured) {
  EXPECT_THAT(std::string(FigureFiles::Create("/proc/load.json", "--out").status().message()),
              testing::HasSubstr("cannot write to the folder /proc: "));
}

TEST(FigureFilesTest, FiguresAreKeptWhereThePlotFails) {
  const TempFolder folder;
  const absl::StatusOr<FigureFiles> files = FigureFiles::Create(folder.File("load.json"), "--out");
  ASSERT_THAT(files, IsOk());
  EXPECT_THAT(files->Write("{}\n", absl::InternalError("no ink")), StatusIs(absl::StatusCode::kInternal, "no ink"));
  EXPECT_EQ(Slurp(folder.File("load.json")), "{}\n");
  EXPECT_FALSE(std::filesystem::exists(folder.File("load.png")));
}

}  // namespace
}  // namespace denoised
