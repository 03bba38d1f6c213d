// File: status_macros.h
//
// Early returns for absl::Status and absl::StatusOr, which the Abseil of Debian 12 does not bring yet.
//
//   DENOISED_RETURN_IF_ERROR(WriteFileAtomically(path, bytes));
//   DENOISED_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
#ifndef DENOISED_COMMON_SUPPORT_STATUS_MACROS_H_
#define DENOISED_COMMON_SUPPORT_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define DENOISED_RETURN_IF_ERROR(expression)           \
  do {                                                 \
    absl::Status denoised_status = (expression);       \
    if (!denoised_status.ok()) return denoised_status; \
  } while (false)

#define DENOISED_CONCAT_INNER(a, b) a##b
#define DENOISED_CONCAT(a, b) DENOISED_CONCAT_INNER(a, b)

#define DENOISED_ASSIGN_OR_RETURN(declaration, expression) \
  DENOISED_ASSIGN_OR_RETURN_IMPL(DENOISED_CONCAT(denoised_status_or_, __LINE__), declaration, expression)

// NOLINTBEGIN(bugprone-macro-parentheses): a declaration takes none.
#define DENOISED_ASSIGN_OR_RETURN_IMPL(status_or, declaration, expression) \
  auto status_or = (expression);                                           \
  if (!status_or.ok()) return std::move(status_or).status();               \
  declaration = *std::move(status_or)
// NOLINTEND(bugprone-macro-parentheses)

#endif  // DENOISED_COMMON_SUPPORT_STATUS_MACROS_H_
