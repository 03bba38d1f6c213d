// File: png.h
//
// Greyscale images as PNG, by libpng.
//
//   absl::StatusOr<std::string> png = EncodePng(image);
//   absl::StatusOr<GreyImage> back = DecodePng(*png);   // the same pixels
//
// Pure and thread-safe.
#ifndef DENOISED_COMMON_IMAGE_PNG_H_
#define DENOISED_COMMON_IMAGE_PNG_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/image/image.h"

namespace denoised {

// An 8-bit greyscale PNG. The same pixels always give the same bytes. INVALID_ARGUMENT for an image without pixels,
// INTERNAL for one of more than libpng takes.
absl::StatusOr<std::string> EncodePng(const GreyImage& image);

// More than EncodePng ever makes of so many pixels, those of noise, which do not get smaller, included.
int64_t LargestPngBytes(int64_t width, int64_t height);

// The inverse; colours become grey, and what is transparent lies on black. INVALID_ARGUMENT for bytes that are not a
// PNG, or one of more than 64 million pixels.
absl::StatusOr<GreyImage> DecodePng(std::string_view png);

// Whether DecodePng puts some of it on black, as it is not opaque there. False for bytes that are not a PNG.
bool HasTransparentPixels(std::string_view png);

}  // namespace denoised

#endif  // DENOISED_COMMON_IMAGE_PNG_H_
