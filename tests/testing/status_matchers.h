// File: status_matchers.h
//
// GoogleTest matchers for absl::Status and absl::StatusOr, which the Abseil of Debian 12 does not bring yet.
//
//   EXPECT_THAT(SaveCheckpoint(...), IsOk());
//   EXPECT_THAT(LoadCheckpoint("nowhere.pt"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("nowhere.pt")));
#ifndef DENOISED_TESTS_TESTING_STATUS_MATCHERS_H_
#define DENOISED_TESTS_TESTING_STATUS_MATCHERS_H_

#include <gmock/gmock.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace denoised {

inline const absl::Status& GetStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& status_or) {
  return status_or.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << "whose status is " << GetStatus(arg).ToString();
  return GetStatus(arg).ok();
}

// `message` is a matcher, or the whole message as a string.
MATCHER_P2(StatusIs, code, message, "") {
  const absl::Status& status = GetStatus(arg);
  *result_listener << "whose status is " << status.ToString();
  return status.code() == code && testing::ExplainMatchResult(testing::Matcher<std::string>(message),
                                                              std::string(status.message()), result_listener);
}

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_STATUS_MATCHERS_H_
