#include "common/support/digest.h"

#include <gtest/gtest.h>

#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

// FIPS 180-4's examples.
TEST(Sha256HexTest, KnownAnswers) {
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Sha256HexOfFileTest, IsThatOfItsBytesHoweverMany) {
  const TempFolder folder;
  const std::string bytes((3 << 20) + 7, 'x');
  EXPECT_EQ(*Sha256HexOfFile(folder.Write("large", bytes)), Sha256Hex(bytes));
  EXPECT_EQ(*Sha256HexOfFile(folder.Write("empty", "")), Sha256Hex(""));
  EXPECT_EQ(Sha256HexOfFile("/nowhere/file").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace denoised
