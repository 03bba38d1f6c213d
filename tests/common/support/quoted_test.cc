#include "common/support/quoted.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

TEST(QuotedTest, LettersOfAnyAlphabetStay) {
  EXPECT_EQ(Quoted("Ankle boot"), "\"Ankle boot\"");
  EXPECT_EQ(Quoted("Fußball 水"), "\"Fußball 水\"");
  EXPECT_EQ(Quoted(""), "\"\"");
}

TEST(QuotedTest, QuotesAndBackslashesAreEscaped) { EXPECT_EQ(Quoted("a\"b\\c"), "\"a\\\"b\\\\c\""); }

TEST(QuotedTest, ControlCharactersAreShownNotObeyed) {
  EXPECT_EQ(Quoted("a\nb\x1b[31m\x7f"), "\"a\\nb\\x1b[31m\\x7f\"");
  EXPECT_EQ(Quoted("\xc2\x9b"
                   "31m"),
            "\"\\xc2\\x9b31m\"")
      << "what some terminals take for ESC [";
  EXPECT_EQ(Visible("a\x1b[31m"), "a\\x1b[31m");
}

TEST(QuotedTest, LongTextsAreCutBetweenLetters) {
  EXPECT_EQ(Quoted(std::string(10'000, 'a')), "\"" + std::string(40, 'a') + "...\"");
  EXPECT_EQ(Quoted("aßß", 2), "\"aß...\"");
  EXPECT_EQ(Quoted("ab", 2), "\"ab\"");
  EXPECT_LT(Quoted(std::string(10'000, '\0')).size(), 60u);
}

TEST(QuotedTest, BytesThatAreNoUtf8AreNamed) { EXPECT_EQ(Visible("\xff\xc3"), "\\xff\\xc3"); }

}  // namespace
}  // namespace denoised
