// File: fuzz_check.h
//
// What a fuzz target states about every input. Each target is one function, LLVMFuzzerTestOneInput, which libFuzzer
// calls with inputs that it makes up (scripts/fuzz.sh), and replay.cc with those in corpus/ (ctest).
//
//   FUZZ_CHECK(body.size() <= limit);
#ifndef DENOISED_TESTS_FUZZ_FUZZ_CHECK_H_
#define DENOISED_TESTS_FUZZ_FUZZ_CHECK_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#define FUZZ_CHECK(condition)                                                      \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                \
    }                                                                              \
  } while (false)

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace denoised {

inline std::string_view FuzzText(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Takes one byte off the front; 0 of nothing.
inline uint8_t TakeByte(std::string_view& text) {
  if (text.empty()) return 0;
  const char byte = text.front();
  text.remove_prefix(1);
  return static_cast<uint8_t>(byte);
}

}  // namespace denoised

#endif  // DENOISED_TESTS_FUZZ_FUZZ_CHECK_H_
