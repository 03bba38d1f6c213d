#include "server/access/access_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/ascii.h"
#include "common/support/digest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kHash = Sha256Hex("secret");

void ExpectRefusal(const std::string& text, const std::string& message) {
  EXPECT_THAT(AccessTokens::Parse(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message))) << text;
}

TEST(AccessTokensTest, LineIsANameAHashAndARole) {
  const absl::StatusOr<AccessTokens> tokens =
      AccessTokens::Parse("# who may draw\n\nlab " + kHash + "\n\tops\t" + Sha256Hex("other") + "  admin \r\n");
  ASSERT_THAT(tokens, IsOk());
  EXPECT_EQ(tokens->size(), 2);
  ASSERT_NE(tokens->Find("secret"), nullptr);
  EXPECT_EQ(tokens->Find("secret")->name, "lab");
  EXPECT_EQ(tokens->Find("secret")->role, Role::kDraw);
  ASSERT_NE(tokens->Find("other"), nullptr);
  EXPECT_EQ(tokens->Find("other")->name, "ops");
  EXPECT_EQ(tokens->Find("other")->role, Role::kAdmin);
}

TEST(AccessTokensTest, WhatIsNotATokenIsNotFound) {
  const absl::StatusOr<AccessTokens> tokens = AccessTokens::Parse("lab " + kHash);
  ASSERT_THAT(tokens, IsOk());
  for (const std::string& other : {std::string(), std::string("Secret"), std::string("secret "), kHash,
                                   std::string("secret\0", 7), std::string(100'000, 's')}) {
    EXPECT_EQ(tokens->Find(other), nullptr);
  }
}

TEST(AccessTokensTest, HashMayBeInCapitals) {
  const absl::StatusOr<AccessTokens> tokens = AccessTokens::Parse("lab " + absl::AsciiStrToUpper(kHash));
  ASSERT_THAT(tokens, IsOk());
  EXPECT_NE(tokens->Find("secret"), nullptr);
}

TEST(AccessTokensTest, OneNameMayHaveSeveralTokens) {
  const absl::StatusOr<AccessTokens> tokens = AccessTokens::Parse("lab " + kHash + "\nlab " + Sha256Hex("next"));
  ASSERT_THAT(tokens, IsOk());
  EXPECT_EQ(tokens->Find("secret")->name, tokens->Find("next")->name);
}

TEST(AccessTokensTest, FaultsAreSaidWithTheirLine) {
  ExpectRefusal("# nothing\n", "there is no token in it, so that nobody could call");
  ExpectRefusal("\nlab", "line 2: must be a name, the SHA-256 of a token, and a role or nothing");
  ExpectRefusal("lab " + kHash + " draw today", "line 1: must be a name");
  ExpectRefusal("l/b " + kHash, "line 1: the name must be at most 64 letters, digits and -_.@, got \"l/b\"");
  ExpectRefusal("lab " + kHash + " root", "line 1: the role must be draw or admin, got \"root\"");
  ExpectRefusal("lab " + kHash + "\nops " + kHash, "line 2: this token is in the file already");
}

// Log files are read by more people than token files.
TEST(AccessTokensTest, TokenInThePlaceOfItsHashIsNotRepeated) {
  const absl::StatusOr<AccessTokens> tokens = AccessTokens::Parse("lab my-secret-token");
  EXPECT_THAT(tokens, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not the token itself")));
  EXPECT_THAT(std::string(tokens.status().message()), Not(HasSubstr("my-secret-token")));
}

TEST(AccessTokensTest, FileErrorsNameTheFlag) {
  EXPECT_THAT(LoadAccessTokens("/nowhere/tokens"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("--tokens: cannot open /nowhere/tokens")));
  const TempFolder folder;
  const std::string path = folder.Write("tokens", "lab");
  EXPECT_THAT(LoadAccessTokens(path), StatusIs(absl::StatusCode::kInvalidArgument,
                                               HasSubstr("--tokens: " + path + ": line 1: must be a name")));
}

}  // namespace
}  // namespace denoised
