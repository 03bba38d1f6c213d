#include "server/models/checkpoint_watch.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "common/support/digest.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

class CheckpointWatchTest : public testing::Test {
 protected:
  // As a careful person does: under another name first.
  void Replace(const std::string& content) {
    std::filesystem::rename(folder_.Write("new", content), folder_.File("model.pt"));
  }
  // Two looks, after which a file that lies still is judged.
  bool Replaced() {
    const bool first = watch_.Replaced();
    return watch_.Replaced() || first;
  }

  TempFolder folder_;
  const std::string path_ = folder_.Write("model.pt", "old");
  CheckpointWatch watch_{path_, Sha256Hex("old")};
};

TEST_F(CheckpointWatchTest, FileThatLiesStillIsNotReplaced) {
  EXPECT_FALSE(Replaced());
  EXPECT_FALSE(Replaced());
}

TEST_F(CheckpointWatchTest, NewContentIsToldOnce) {
  Replace("new");
  EXPECT_TRUE(Replaced());
  EXPECT_FALSE(Replaced());
  Replace("newer");
  EXPECT_TRUE(Replaced());
}

TEST_F(CheckpointWatchTest, SameContentInANewFileIsNoNews) {
  Replace("old");
  EXPECT_FALSE(Replaced());
  EXPECT_FALSE(Replaced());
}

TEST_F(CheckpointWatchTest, FileThatIsStillBeingWrittenIsLeftAlone) {
  folder_.Write("model.pt", "n");
  EXPECT_FALSE(watch_.Replaced());
  folder_.Write("model.pt", "new");
  EXPECT_FALSE(watch_.Replaced()) << "it has changed since the last look";
  EXPECT_TRUE(watch_.Replaced());
}

TEST_F(CheckpointWatchTest, MissingFileIsNoNewsUntilAnotherIsThere) {
  std::filesystem::remove(path_);
  EXPECT_FALSE(Replaced());
  Replace("old");
  EXPECT_FALSE(Replaced());
  Replace("new");
  EXPECT_TRUE(Replaced());
}

// Whoever loads it says why it cannot be.
TEST_F(CheckpointWatchTest, FileThatCannotBeReadIsToldOnce) {
  std::filesystem::remove(path_);
  std::filesystem::create_directory(path_);  // which root cannot read either
  EXPECT_TRUE(Replaced());
  EXPECT_FALSE(Replaced());
  std::filesystem::remove(path_);
  Replace("old");
  EXPECT_TRUE(Replaced()) << "it can be loaded again";
}

TEST_F(CheckpointWatchTest, FileLargerThanAnyCheckpointIsToldOnceAndNotRead) {
  Replace("new");
  std::filesystem::resize_file(path_, uintmax_t{5} << 30);
  EXPECT_TRUE(Replaced());
  EXPECT_FALSE(Replaced());
}

TEST_F(CheckpointWatchTest, ContentThatSomebodyElseLoadedIsNoNews) {
  Replace("new");
  watch_.Know(Sha256Hex("new"));
  EXPECT_FALSE(Replaced());
}

}  // namespace
}  // namespace denoised
