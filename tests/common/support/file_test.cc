#include "common/support/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::MatchesRegex;

int CountFiles(const std::string& folder) {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

TEST(FileTest, ReadsWhatWasWritten) {
  const TempFolder folder;
  const std::string bytes("a\0b\n", 4);
  EXPECT_THAT(WriteFileAtomically(folder.File("x"), bytes), IsOk());
  EXPECT_EQ(*ReadFile(folder.File("x"), 4), bytes);
}

TEST(FileTest, ReplacesAndLeavesNoTemporaryFile) {
  const TempFolder folder;
  EXPECT_THAT(WriteFileAtomically(folder.File("x"), "old"), IsOk());
  EXPECT_THAT(WriteFileAtomically(folder.File("x"), "new"), IsOk());
  EXPECT_EQ(Slurp(folder.File("x")), "new");
  EXPECT_EQ(CountFiles(folder.path()), 1);
}

// A limit on file sizes stands for a full disk: the write fails in the middle.
TEST(FileTest, FailedWriteKeepsTheOldFileAndLeavesNoOther) {
  const TempFolder folder;
  folder.Write("x", "old");
  signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{.rlim_cur = 10, .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const absl::Status status = WriteFileAtomically(folder.File("x"), std::string(100, 'n'));
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kResourceExhausted, "cannot write " + folder.File("x") + ": File too large"));
  EXPECT_EQ(Slurp(folder.File("x")), "old");
  EXPECT_EQ(CountFiles(folder.path()), 1);
}

TEST(FileTest, WhoMayReadAFileStays) {
  namespace fs = std::filesystem;
  const TempFolder folder;
  fs::permissions(folder.Write("secret", "old"), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_THAT(WriteFileAtomically(folder.File("secret"), "new"), IsOk());
  EXPECT_EQ(fs::status(folder.File("secret")).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

// As a folder for the post: what is written there is there, though its name cannot be flushed.
TEST(FileTest, FolderThatMayBeWrittenAndNotReadIsWrittenTo) {
  namespace fs = std::filesystem;
  const TempFolder folder;
  fs::create_directory(folder.File("post"));
  fs::permissions(folder.File("post"), fs::perms(0333));
  fs::permissions(folder.path(), fs::perms(0777));
  EXPECT_EXIT(
      {
        if (geteuid() == 0 && setuid(65534) != 0) std::exit(1);
        const absl::Status status = WriteFileAtomically(folder.File("post/letter"), "new");
        std::fprintf(stderr, "%s\n", status.ToString().c_str());
        std::exit(status.ok() ? 0 : 2);
      },
      testing::ExitedWithCode(0), "OK");
  EXPECT_EQ(Slurp(folder.File("post/letter")), "new");
  fs::permissions(folder.File("post"), fs::perms(0777));
}

// Its reader is slow, and whoever has the other end has said that nobody should wait.
TEST(FileTest, OutputThatCannotBeTakenAtOnceIsWaitedFor) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_NONBLOCK), 0);
  const int before = dup(STDOUT_FILENO);
  dup2(ends[1], STDOUT_FILENO);
  std::string read_bytes;
  std::thread reader([&] {
    char buffer[4096];
    while (read_bytes.size() < 1 << 20) {
      const ssize_t size = read(ends[0], buffer, sizeof buffer);
      if (size > 0) read_bytes.append(buffer, static_cast<size_t>(size));
    }
  });
  const absl::Status status = WriteToStdout(std::string(1 << 20, 'x'));
  dup2(before, STDOUT_FILENO);
  if (!status.ok()) {  // nobody waits for what will not come
    fcntl(ends[1], F_SETFL, 0);
    EXPECT_GE(write(ends[1], std::string(1 << 20, 'x').data(), 1 << 20), 0);
  }
  reader.join();
  for (const int end : {ends[0], ends[1], before}) close(end);
  EXPECT_THAT(status, IsOk());
  EXPECT_EQ(read_bytes, std::string(1 << 20, 'x'));
}

TEST(FileTest, MissingFolderIsNamed) {
  const TempFolder folder;
  EXPECT_THAT(
      WriteFileAtomically(folder.File("no/x"), "new"),
      StatusIs(absl::StatusCode::kNotFound, "cannot write " + folder.File("no/x") + ": No such file or directory"));
}

TEST(FileTest, MissingFileIsNamed) {
  const TempFolder folder;
  EXPECT_THAT(ReadFile(folder.File("x"), 9),
              StatusIs(absl::StatusCode::kNotFound, "cannot open " + folder.File("x") + ": No such file or directory"));
}

TEST(FileTest, FolderIsNotAFile) {
  const TempFolder folder;
  EXPECT_THAT(ReadFile(folder.path(), 9),
              StatusIs(absl::StatusCode::kInvalidArgument, folder.path() + " is a folder, not a file"));
}

TEST(FileTest, TooLargeIsRefused) {
  const TempFolder folder;
  const std::string path = folder.Write("x", "12345");
  EXPECT_THAT(ReadFile(path, 4),
              StatusIs(absl::StatusCode::kInvalidArgument, path + " is larger than the limit of 4 bytes"));
}

// Reported: as root, --out /dev/null replaced the device by a file.
TEST(FileTest, DeviceStaysADevice) {
  EXPECT_TRUE(IsSpecialFile("/dev/null"));
  EXPECT_THAT(EnsureWritableFile("/dev/null"), IsOk());
  EXPECT_THAT(WriteFileAtomically("/dev/null", "new"), IsOk());
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST(FileTest, PipeGetsTheBytesAndStaysAPipe) {
  const TempFolder folder;
  const std::string pipe = folder.File("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  std::string read;
  std::thread reader([&] { read = *ReadFile(pipe, 99); });
  EXPECT_THAT(WriteFileAtomically(pipe, "new"), IsOk());
  reader.join();
  EXPECT_EQ(read, "new");
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
  EXPECT_EQ(CountFiles(folder.path()), 1);
}

TEST(FileTest, SymbolicLinkStaysAndItsFileIsReplaced) {
  const TempFolder folder, other;
  std::filesystem::create_symlink("second", folder.File("first"));
  std::filesystem::create_symlink(other.File("file"), folder.File("second"));
  EXPECT_THAT(EnsureWritableFile(folder.File("first")), IsOk());
  for (const char* text : {"where there was none", "where there was one"}) {
    EXPECT_THAT(WriteFileAtomically(folder.File("first"), text), IsOk());
    EXPECT_TRUE(std::filesystem::is_symlink(folder.File("first")));
    EXPECT_TRUE(std::filesystem::is_symlink(folder.File("second")));
    EXPECT_EQ(Slurp(other.File("file")), text);
  }
}

TEST(FileTest, FolderIsNotReplaced) {
  const TempFolder folder;
  EXPECT_THAT(WriteFileAtomically(folder.path(), "new"),
              StatusIs(absl::StatusCode::kInvalidArgument, "cannot write " + folder.path() + ": it is a folder"));
  EXPECT_THAT(EnsureWritableFile(folder.path()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "cannot write " + folder.path() + ": it is a folder; choose another with --out"));
}

TEST(EnsureWritableFolderTest, MakesParentsAndLeavesNothingInIt) {
  const TempFolder folder;
  EXPECT_THAT(EnsureWritableFolder(folder.File("a/b")), IsOk());
  EXPECT_EQ(CountFiles(folder.File("a/b")), 0);
}

TEST(EnsureWritableFolderTest, FileInTheWayIsNamed) {
  const TempFolder folder;
  const std::string path = folder.Write("x", "") + "/y";
  EXPECT_THAT(EnsureWritableFolder(path),
              StatusIs(absl::StatusCode::kNotFound,
                       "cannot create the folder " + path + ": Not a directory; choose another with --out"));
}

// Nobody, root included, can make a file in /proc; the reason it gives differs between kernels.
TEST(EnsureWritableFolderTest, UnwritableFolderIsNamedAndNotTheProbe) {
  EXPECT_THAT(std::string(EnsureWritableFolder("/proc", "--frames").message()),
              MatchesRegex("cannot write to the folder /proc: [A-Z][a-z]+( [a-z]+)*; choose another with --frames"));
}

TEST(FindShippedTest, FindsTheModelOfThisTree) {
  const absl::StatusOr<std::string> path = FindShipped("mnist.pt");
  ASSERT_THAT(path, IsOk());
  EXPECT_THAT(ReadFile(*path, 16 << 20), IsOk());
}

// Whoever stands in a folder with another model in it has not asked for that one.
TEST(FindShippedTest, TheWorkingFolderComesLast) {
  const TempFolder folder;
  std::filesystem::create_directories(folder.File("models"));
  folder.Write("models/mnist.pt", "another");
  folder.Write("models/mine.pt", "mine");
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  const absl::StatusOr<std::string> shipped = FindShipped("mnist.pt"), own = FindShipped("mine.pt");
  std::filesystem::current_path(before);
  ASSERT_THAT(shipped, IsOk());
  EXPECT_THAT(*shipped, testing::EndsWith("/models/mnist.pt"));
  EXPECT_TRUE(std::filesystem::path(*shipped).is_absolute());
  ASSERT_THAT(own, IsOk());
  EXPECT_EQ(*own, "models/mine.pt");
}

TEST(FindShippedTest, SaysWhereItLooked) {
  EXPECT_THAT(FindShipped("nothing.pt"),
              StatusIs(absl::StatusCode::kNotFound,
                       MatchesRegex("there is no .*/share/denoised/nothing\\.pt and no .*/models/nothing\\.pt and no "
                                    "models/nothing\\.pt")));
}

}  // namespace
}  // namespace denoised
