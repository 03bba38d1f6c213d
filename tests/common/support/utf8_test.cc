#include "common/support/utf8.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

TEST(Utf8Test, LettersHaveOneToFourBytes) {
  EXPECT_EQ(LetterBytes("a"), 1u);
  EXPECT_EQ(LetterBytes("ßa"), 2u);
  EXPECT_EQ(LetterBytes("水a"), 3u);
  EXPECT_EQ(LetterBytes("\xf0\x9f\x91\x9f"), 4u);
}

TEST(Utf8Test, WhatIsNoLetterHasNone) {
  const char* const kNone[] = {"\x80",         "\xc3",     "\xc0\x80",         "\xe0\x80\x80",
                               "\xed\xa0\x80", "\xe6\xb0", "\xf4\x90\x80\x80", "\xff"};
  for (const char* text : kNone) EXPECT_EQ(LetterBytes(text), 0u);
}

TEST(Utf8Test, ATextIsUtf8IfEachLetterIs) {
  EXPECT_TRUE(IsUtf8(""));
  EXPECT_TRUE(IsUtf8("Fußball 水"));
  EXPECT_FALSE(
      IsUtf8("Fu\xdf"
             "ball"));
}

}  // namespace
}  // namespace denoised
