#include "common/diffusion/row_update.h"

#include <cstdint>
#include <cstring>

#include "common/support/vector_clones.h"

namespace denoised {

DENOISED_VECTOR_CLONES
void UpdateRow(const StepCoefficients& row, const float* e, const float* z, size_t n, float* x, float* x0) {
  // Copies, which writing to the images cannot change: so the loops become vector instructions.
  const StepCoefficients coefficients = row;
  if (z != nullptr) {
    for (size_t i = 0; i < n; ++i) UpdatePixel(coefficients, e[i], z[i], x[i], x0[i]);
  } else {
    for (size_t i = 0; i < n; ++i) UpdatePixel(coefficients, e[i], 0, x[i], x0[i]);
  }
}

// By their exponents, which whole vectors of them can be looked at together.
DENOISED_VECTOR_CLONES
bool AllFinite(const float* x, size_t n) {
  constexpr uint32_t kExponent = 0x7F800000;
  uint32_t any = 0;
  for (size_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    any |= static_cast<uint32_t>((bits & kExponent) == kExponent);
  }
  return any == 0;
}

}  // namespace denoised
