// File: torch_error.h
//
// LibTorch's exceptions as one line for people. Pure and thread-safe.
#ifndef DENOISED_COMMON_CHECKPOINT_TORCH_ERROR_H_
#define DENOISED_COMMON_CHECKPOINT_TORCH_ERROR_H_

#include <exception>
#include <string>

namespace denoised {

// The line that says what happened: the first, or in TorchScript's errors, which begin with a stack trace, the last
// that names an error. The rest is source positions.
inline std::string TorchErrorText(const std::exception& e) {
  const std::string message = e.what();
  constexpr char kNamed[] = "RuntimeError: ";
  const size_t named = message.rfind(kNamed);
  const size_t begin = message.find_first_not_of(" \n", named == std::string::npos ? 0 : named + sizeof kNamed - 1);
  if (begin == std::string::npos) return "unknown error";
  return message.substr(begin, message.find('\n', begin) - begin);
}

}  // namespace denoised

#endif  // DENOISED_COMMON_CHECKPOINT_TORCH_ERROR_H_
