#include "common/weights/archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/common/weights/zip_file.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::HasSubstr;

TEST(ArchiveTest, RecordsAreFoundBelowTheFolder) {
  const std::string bytes = ZipOf({{"run/best/a", "one"}, {"run/extra/b.json", "{}"}});
  const Archive archive = *Archive::Open(bytes);
  EXPECT_TRUE(archive.Has("best/a"));
  EXPECT_FALSE(archive.Has("a"));
  EXPECT_EQ(*archive.Read("best/a", 3), "one");
  EXPECT_EQ(*archive.Read("extra/b.json", 100), "{}");
  EXPECT_THAT(archive.Read("c", 100), StatusIs(absl::StatusCode::kNotFound, "the archive has no c"));
}

TEST(ArchiveTest, MoreThanIsAllowedIsNotRead) {
  const std::string bytes = ZipOf({{"x/big", std::string(1000, 'a')}});
  EXPECT_THAT(Archive::Open(bytes)->Read("big", 999),
              StatusIs(absl::StatusCode::kInvalidArgument, "big in the archive has 1000 bytes, more than 999"));
}

// A thousand times as much may come out of it as the file has.
TEST(ArchiveTest, CompressedRecordsAreRefused) {
  const std::string bytes = ZipOf({{"x/big", std::string(1000, 'a')}}, /*compressed=*/true);
  EXPECT_THAT(Archive::Open(bytes)->Read("big", 2000),
              StatusIs(absl::StatusCode::kInvalidArgument, "big in the archive is compressed, which it must not be"));
}

TEST(ArchiveTest, DamagedRecordsAreFound) {
  std::string bytes = ZipOf({{"x/a", "something that is long enough"}});
  bytes[bytes.find("something")] ^= 1;
  EXPECT_THAT(Archive::Open(bytes)->Read("a", 100),
              StatusIs(absl::StatusCode::kDataLoss, "a in the archive is damaged"));
}

TEST(ArchiveTest, OtherBytesAreNone) {
  const auto none = StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not an archive"));
  EXPECT_THAT(Archive::Open(""), none);
  EXPECT_THAT(Archive::Open("PK"), none);
  const std::string bytes = ZipOf({{"x/a", "one"}});
  EXPECT_THAT(Archive::Open(bytes.substr(0, bytes.size() - 5)), none);
}

TEST(ArchiveTest, EmptyArchiveHasNothing) {
  const std::string empty = std::string("PK\5\6", 4) + std::string(18, '\0');
  EXPECT_FALSE(Archive::Open(empty)->Has("a"));
}

}  // namespace
}  // namespace denoised
