// File: row_update.h
//
// One row of a step plan applied to one image: see the formula in step_plan.h. Pure and thread-safe.
#ifndef DENOISED_COMMON_ROW_UPDATE_H_
#define DENOISED_COMMON_ROW_UPDATE_H_

#include <algorithm>
#include <cstddef>

#include "common/step_plan.h"

namespace denoised {

// Updates n pixels in place: x [n] from the noisy image to the next, x0 [n] from the previous predicted clean image to
// this step's. e [n] is the network's output; z [n] is fresh noise, or null where row.d is 0.
inline void UpdateRow(const StepCoefficients& row, const float* e, const float* z, size_t n, float* x, float* x0) {
  for (size_t i = 0; i < n; ++i) {
    const float clean = std::min(std::max(row.p * x[i] + row.q * e[i], row.lo), row.hi);
    float next = row.a * x[i] + row.b * clean;
    if (row.c != 0) next += row.c * x0[i];
    if (z != nullptr) next += row.d * z[i];
    x[i] = next;
    x0[i] = clean;
  }
}

}  // namespace denoised

#endif  // DENOISED_COMMON_ROW_UPDATE_H_
