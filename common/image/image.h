// File: image.h
//
// Greyscale pixels: what training, serving and evaluation must agree on.
//
//   GreyImage small = FromModelPixels(pixels, 32, 32);          // [-1, 1] floats to bytes
//   absl::StatusOr<std::string> png = EncodePng(*Resize(small, 256, Interpolation::kCubic));   // png.h, resize.h
//
// All functions are pure and thread-safe.
#ifndef DENOISED_COMMON_IMAGE_IMAGE_H_
#define DENOISED_COMMON_IMAGE_IMAGE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace denoised {

// The network sees 32x32 pixels of one channel.
inline constexpr int kModelSize = 32;
inline constexpr int kModelPixels = kModelSize * kModelSize;

// H rows of W bytes, row by row, 0 black to 255 white.
struct GreyImage {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> pixels;

  friend bool operator==(const GreyImage&, const GreyImage&) = default;
};

// Pixels in [-1, 1] (clamped) to bytes, rounded to nearest, halves to even: round((x + 1) * 127.5). What is then less
// than `black_below` is black, 0.
GreyImage FromModelPixels(absl::Span<const float> pixels, int width, int height, int black_below = 0);

// Bytes to [-1, 1]: x / 127.5 - 1.
std::vector<float> ToModelPixels(const GreyImage& image);

// Pictures of equal size side by side, `columns` to a row, with `padding` pixels of `background` between and around.
// INVALID_ARGUMENT when there are none or their sizes differ.
absl::StatusOr<GreyImage> MakeGrid(const std::vector<GreyImage>& images, int columns, int padding, uint8_t background);

}  // namespace denoised

#endif  // DENOISED_COMMON_IMAGE_IMAGE_H_
