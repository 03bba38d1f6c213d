// File: resize.h
//
//   absl::StatusOr<GreyImage> large = Resize(small, 256, Interpolation::kCubic);
//
// In whole numbers alone, so that a picture's bytes are the same on every machine and with every library. Pure and
// thread-safe.
#ifndef DENOISED_COMMON_IMAGE_RESIZE_H_
#define DENOISED_COMMON_IMAGE_RESIZE_H_

#include "absl/status/statusor.h"
#include "common/image/image.h"

namespace denoised {

enum class Interpolation {
  kNearest,  // one pixel: the one that holds the output pixel's upper left corner
  kLinear,   // two pixels a direction; bit for bit what OpenCV makes of bytes, as the training images are resized by it
  kCubic,    // four, by Keys's cubic convolution with a = -3/4 (Keys 1981, DOI 10.1109/TASSP.1981.1163711)
  kLanczos,  // eight, by sinc(d) sinc(d/4)
};

// Resized to size x size. Filters have half-pixel centres: output pixel i is at (i + 0.5) w/size - 0.5, and what lies
// beyond an edge is the edge's pixel. The same size returns the pixels untouched. INVALID_ARGUMENT for an image without
// pixels, and for sizes that are not 1 to 16384.
absl::StatusOr<GreyImage> Resize(const GreyImage& image, int size, Interpolation interpolation);

}  // namespace denoised

#endif  // DENOISED_COMMON_IMAGE_RESIZE_H_
