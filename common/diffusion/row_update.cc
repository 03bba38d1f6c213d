#include "common/diffusion/row_update.h"

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

}  // namespace denoised
