// Included before each file that clang-tidy reads, never by a compiler. Clang instantiates constexpr members of
// std::vector at once, with the types of LibTorch 1.13 that are still incomplete; GCC waits until they are used. So
// libstdc++'s std::vector is read here as if it had none, and its fill of bits, declared constexpr before, renamed.
#include <string>
#undef _GLIBCXX20_CONSTEXPR
#define _GLIBCXX20_CONSTEXPR
#define __fill_a1 __fill_bits
#include <vector>
#undef __fill_a1
#undef _GLIBCXX20_CONSTEXPR
#define _GLIBCXX20_CONSTEXPR constexpr
