#include "server/access/refreshed.h"

#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

class RefreshedTest : public testing::Test {
 protected:
  Refreshed<std::string>& Loaded() {
    value_ = *Refreshed<std::string>::Load([this] { return file_; });
    return *value_;
  }

  absl::StatusOr<std::string> file_ = "old";
  std::shared_ptr<Refreshed<std::string>> value_;
};

TEST_F(RefreshedTest, WithoutAGoodFileThereIsNone) {
  const auto loaded = Refreshed<std::string>::Load(
      []() -> absl::StatusOr<std::string> { return absl::InvalidArgumentError("broken"); });
  EXPECT_THAT(loaded, StatusIs(absl::StatusCode::kInvalidArgument, "broken"));
}

TEST_F(RefreshedTest, NewFileIsANewValue) {
  Refreshed<std::string>& value = Loaded();
  EXPECT_EQ(*value.Refresh(), false);
  file_ = "new";
  EXPECT_EQ(*value.Refresh(), true);
  EXPECT_EQ(*value.value(), "new");
}

TEST_F(RefreshedTest, ValueInUseOutlivesItsSuccessor) {
  Refreshed<std::string>& value = Loaded();
  const std::shared_ptr<const std::string> in_use = value.value();
  file_ = "new";
  EXPECT_EQ(*value.Refresh(), true);
  EXPECT_EQ(*in_use, "old");
}

TEST_F(RefreshedTest, BrokenFileKeepsTheOldValueAndIsToldOnceItLasts) {
  Refreshed<std::string>& value = Loaded();
  file_ = absl::InvalidArgumentError("half");
  EXPECT_EQ(*value.Refresh(), false);  // it may be in the making
  EXPECT_THAT(value.Refresh(), StatusIs(absl::StatusCode::kInvalidArgument, "half"));
  EXPECT_EQ(*value.Refresh(), false);
  EXPECT_EQ(*value.value(), "old");
}

TEST_F(RefreshedTest, EveryNewErrorIsTold) {
  Refreshed<std::string>& value = Loaded();
  for (const char* error : {"half", "gone", "half"}) {
    file_ = absl::InvalidArgumentError(error);
    EXPECT_EQ(*value.Refresh(), false);
    EXPECT_THAT(value.Refresh(), StatusIs(absl::StatusCode::kInvalidArgument, error));
  }
  file_ = "old";
  EXPECT_EQ(*value.Refresh(), false);
  file_ = absl::InvalidArgumentError("half");
  EXPECT_EQ(*value.Refresh(), false);
  EXPECT_THAT(value.Refresh(), StatusIs(absl::StatusCode::kInvalidArgument, "half"));
}

}  // namespace
}  // namespace denoised
