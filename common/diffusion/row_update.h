// File: row_update.h
//
// One row of a step plan applied to one image: see the formula in step_plan.h. Pure and thread-safe.
#ifndef DENOISED_COMMON_DIFFUSION_ROW_UPDATE_H_
#define DENOISED_COMMON_DIFFUSION_ROW_UPDATE_H_

#include <cstddef>

#include "common/diffusion/step_plan.h"
#include "common/support/host_device.h"

namespace denoised {

// Updates one pixel in place: x from the noisy image to the next, x0 from the previous predicted clean image to this
// step's. e is the network's output and z fresh noise. The same on a CPU and on a GPU, to the last bit.
DENOISED_HOST_DEVICE inline void UpdatePixel(const StepCoefficients& row, float e, float z, float& x, float& x0) {
  float clean = row.p * x + row.q * e;
  clean = clean < row.lo ? row.lo : clean;
  clean = row.hi < clean ? row.hi : clean;
  float next = row.a * x + row.b * clean;
  // A zero times a previous image that is not finite would not be zero.
  if (row.c != 0) next += row.c * x0;
  if (row.d != 0) next += row.d * z;
  x = next;
  x0 = clean;
}

// UpdatePixel for n pixels: x [n], x0 [n], e [n], z [n], or null where row.d is 0.
void UpdateRow(const StepCoefficients& row, const float* e, const float* z, size_t n, float* x, float* x0);

// Whether all of x [n] are finite numbers.
bool AllFinite(const float* x, size_t n);

}  // namespace denoised

#endif  // DENOISED_COMMON_DIFFUSION_ROW_UPDATE_H_
