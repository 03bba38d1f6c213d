// File: torch_error.h
//
// LibTorch's exceptions as one line for people. Pure and thread-safe.
#ifndef DENOISED_COMMON_TORCH_ERROR_H_
#define DENOISED_COMMON_TORCH_ERROR_H_

#include <exception>
#include <string>

namespace denoised {

// The first line that says something; the rest is source positions and stack traces.
inline std::string TorchErrorText(const std::exception& e) {
  const std::string message = e.what();
  const size_t begin = message.find_first_not_of(" \n");
  if (begin == std::string::npos) return "unknown error";
  return message.substr(begin, message.find('\n', begin) - begin);
}

}  // namespace denoised

#endif  // DENOISED_COMMON_TORCH_ERROR_H_
