#include "trainer/data/class_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::ElementsAre;

testing::Matcher<absl::StatusOr<std::vector<std::string>>> Refused(const std::string& message) {
  return StatusIs(absl::StatusCode::kInvalidArgument, message);
}

TEST(ClassNamesTest, NamesHaveCommasBetweenThem) {
  const auto names = ParseClassNames("--class_names", "T-shirt, Ankle boot ,2");
  ASSERT_THAT(names, IsOk());
  EXPECT_THAT(*names, ElementsAre("T-shirt", "Ankle boot", "2"));
}

TEST(ClassNamesTest, AFileHasANameInEachLine) {
  const TempFolder folder;
  const auto names = ReadClassNames(folder.Write("names", "T-shirt\r\nAnkle, boot\n\n"));
  ASSERT_THAT(names, IsOk());
  EXPECT_THAT(*names, ElementsAre("T-shirt", "Ankle, boot"));
}

TEST(ClassNamesTest, BadNamesAreRefusedInWords) {
  EXPECT_THAT(ParseClassNames("--class_names", "a,,b"), Refused("--class_names: the name of class 1 is empty"));
  EXPECT_THAT(ParseClassNames("--class_names", "a,b,a"),
              Refused("--class_names: the name of class 2, \"a\", is another class's too"));
  EXPECT_THAT(ParseClassNames("--class_names", std::string(65, 'x')),
              Refused("--class_names: the name of class 0 has 65 bytes, expected at most 64"));
  EXPECT_THAT(ParseClassNames("--class_names",
                              "Gr\xf6\xdf"
                              "e"),
              Refused("--class_names: the name of class 0 is not written in UTF-8: \"Gr\\xf6\\xdfe\"; convert it"));
  EXPECT_THAT(ParseClassNames("--class_names", "a,b\x1b[31m"),
              Refused("--class_names: the name of class 1 has control characters: \"b\\x1b[31m\""));
  EXPECT_THAT(
      ParseClassNames("--class_names", "0,2,1"),
      Refused("--class_names: the name of class 1 is \"2\", which everybody takes for the number of a class; use a "
              "word, such as \"no 2\""));
  const TempFolder folder;
  const std::string empty = folder.Write("names", "\n\n");
  EXPECT_THAT(ReadClassNames(empty), Refused(empty + " names 0 classes, expected 1 to 256"));
  EXPECT_THAT(CheckClassNames("it", NumbersAsNames(257)),
              StatusIs(absl::StatusCode::kInvalidArgument, "it names 257 classes, expected 1 to 256"));
  EXPECT_THAT(CheckClassNames("it", NumbersAsNames(256)), IsOk());
}

}  // namespace
}  // namespace denoised
