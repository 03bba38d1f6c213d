#include "trainer/data/model_pixels.h"

#include "absl/strings/str_cat.h"
#include "common/image/resize.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr uint64_t kSmallest = 8, kLargest = 1024;

// Means of 2x2 pixels, rounded to nearest; what an odd size leaves over is cut off.
GreyImage Halved(const GreyImage& image) {
  GreyImage half{.width = image.width / 2, .height = image.height / 2, .pixels = {}};
  half.pixels.reserve(static_cast<size_t>(half.width) * half.height);
  for (int y = 0; y < half.height; ++y) {
    for (int x = 0; x < half.width; ++x) {
      const size_t at = static_cast<size_t>(2 * y) * image.width + 2 * x;
      const int sum =
          image.pixels[at] + image.pixels[at + 1] + image.pixels[at + image.width] + image.pixels[at + image.width + 1];
      half.pixels.push_back(static_cast<uint8_t>((sum + 2) / 4));
    }
  }
  return half;
}

}  // namespace

absl::Status CheckImageSize(const std::string& path, uint64_t width, uint64_t height) {
  if (width == height && width >= kSmallest && width <= kLargest) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, " holds images of ", width, "x", height,
                                                 " pixels, expected square ones of ", kSmallest, "x", kSmallest, " to ",
                                                 kLargest, "x", kLargest));
}

absl::Status AppendModelPixels(const GreyImage& image, std::vector<uint8_t>& pixels) {
  GreyImage small = image;
  while (small.width >= 2 * kModelSize) small = Halved(small);
  DENOISED_ASSIGN_OR_RETURN(const GreyImage resized, Resize(small, kModelSize, Interpolation::kLinear));
  pixels.insert(pixels.end(), resized.pixels.begin(), resized.pixels.end());
  return absl::OkStatus();
}

}  // namespace denoised
