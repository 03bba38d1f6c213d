#include "common/support/caught.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

TEST(CaughtTest, WhatIsReturnedIsPassedOn) {
  EXPECT_THAT(Caught("it failed", [] { return absl::OkStatus(); }), IsOk());
  EXPECT_THAT(Caught("it failed", [] { return absl::AbortedError("given up"); }),
              StatusIs(absl::StatusCode::kAborted, "given up"));
}

TEST(CaughtTest, WhatIsThrownIsInternalWithItsReason) {
  EXPECT_THAT(Caught("it failed", []() -> absl::Status { throw std::runtime_error("no memory"); }),
              StatusIs(absl::StatusCode::kInternal, "it failed: no memory"));
}

}  // namespace
}  // namespace denoised
