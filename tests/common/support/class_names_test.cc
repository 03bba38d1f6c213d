#include "common/support/class_names.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

TEST(ClassNamesTest, DigitsAreCalledByNumber) {
  EXPECT_TRUE(AreCalledByNumber({"0", "1", "2"}));
  EXPECT_FALSE(AreCalledByNumber({"1", "2", "3"}));
  EXPECT_FALSE(AreCalledByNumber({"cat", "dog"}));
}

TEST(ClassNamesTest, DigitsAloneAreANumber) {
  for (const char* number : {"0", "12", "-1", "99999999999999999999"}) EXPECT_TRUE(IsClassNumber(number)) << number;
  for (const char* name : {"", "-", "1a", "1.5", "+1", " 1", "--1", "sneaker"}) {
    EXPECT_FALSE(IsClassNumber(name)) << name;
  }
}

TEST(ListClassesTest, WithTheirNumbers) {
  EXPECT_EQ(ListClasses({"cat", "dog"}, /*with_numbers=*/true), "0 \"cat\" and 1 \"dog\"");
}

}  // namespace
}  // namespace denoised
