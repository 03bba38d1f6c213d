#include "server/service/class_lookup.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace denoised {
namespace {

using Names = std::vector<std::string>;

const Names kClothes = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                        "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};

Names Letters() {
  Names names;
  for (char letter = 'A'; letter <= 'Z'; ++letter) names.emplace_back(1, letter);
  for (const char* small : {"a", "b", "d", "e"}) names.emplace_back(small);
  return names;
}

TEST(FindClassTest, ByTheExactName) {
  EXPECT_EQ(FindClass(kClothes, "Ankle boot"), 9);
  EXPECT_EQ(FindClass(kClothes, "T-shirt/top"), 0);
}

TEST(FindClassTest, CaseDoesNotMatterWhereItTellsNothingApart) {
  EXPECT_EQ(FindClass(kClothes, "ankle BOOT"), 9);
  EXPECT_EQ(FindClass(Letters(), "c"), 2) << "there is no small c";
}

TEST(FindClassTest, CaseMattersWhereItTellsClassesApart) {
  EXPECT_EQ(FindClass(Letters(), "A"), 0);
  EXPECT_EQ(FindClass(Letters(), "a"), 26);
  EXPECT_EQ(FindClass({"IT", "it"}, "It"), std::nullopt);
}

TEST(FindClassTest, NothingElseIsAClass) {
  for (const char* name : {"", "Boot", "Ankle boot ", "9"}) EXPECT_EQ(FindClass(kClothes, name), std::nullopt) << name;
}

TEST(UnknownClassTextTest, SaysWhichThereAreAndWhatWasAsked) {
  EXPECT_EQ(UnknownClassText({"cat", "dog", "bird"}, "horse"),
            "must be one of \"cat\", \"dog\" and \"bird\", got \"horse\"");
  EXPECT_EQ(UnknownClassText({"cat"}, "horse"), "must be one of \"cat\", got \"horse\"");
}

TEST(UnknownClassTextTest, SuggestsTheNearest) {
  EXPECT_EQ(UnknownClassText({"cat", "dog", "bird"}, "brd"),
            "must be one of \"cat\", \"dog\" and \"bird\", got \"brd\"; did you mean \"bird\"?");
  EXPECT_EQ(UnknownClassText({"cat", "dog", "bird"}, "Cta"),
            "must be one of \"cat\", \"dog\" and \"bird\", got \"Cta\"; did you mean \"cat\"?");
  EXPECT_EQ(UnknownClassText({"IT", "it"}, "It"),
            "must be one of \"IT\" and \"it\", got \"It\"; did you mean \"IT\" or \"it\"?");
  EXPECT_EQ(
      UnknownClassText({"bat", "cat", "hat", "rat"}, "xat"),
      "must be one of \"bat\", \"cat\", \"hat\" and \"rat\", got \"xat\"; did you mean \"bat\", \"cat\" or \"hat\"?");
  EXPECT_EQ(UnknownClassText({"a", "b"}, "c"), "must be one of \"a\" and \"b\", got \"c\"") << "any letter is near any";
}

TEST(UnknownClassTextTest, ListsTenAndCountsTheRest) {
  EXPECT_EQ(UnknownClassText(Letters(), "sneaker"),
            "must be one of \"A\", \"B\", \"C\", \"D\", \"E\", \"F\", \"G\", \"H\", \"I\", \"J\" and 20 more, got "
            "\"sneaker\"");
}

TEST(UnknownClassTextTest, IsBoundedAndHasNoControlCharacters) {
  Names names;
  for (int i = 0; i < 256; ++i) names.push_back(absl::StrCat(std::string(100'000, 'x'), "\x1b\n", i));
  const std::string text = UnknownClassText(names, "\x1b[31m\n" + std::string(10'000, 'x'));
  EXPECT_LT(text.size(), 800u);
  EXPECT_EQ(text.find_first_of("\x1b\n"), std::string::npos);
  EXPECT_NE(text.find("got \"\\x1b[31m\\nxxx"), std::string::npos) << text;
}

}  // namespace
}  // namespace denoised
