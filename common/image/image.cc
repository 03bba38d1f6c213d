#include "common/image/image.h"

#include <algorithm>
#include <cmath>

#include "absl/status/status.h"

namespace denoised {

GreyImage FromModelPixels(absl::Span<const float> pixels, int width, int height, int black_below) {
  GreyImage image{.width = width, .height = height, .pixels = std::vector<uint8_t>(pixels.size())};
  std::transform(pixels.begin(), pixels.end(), image.pixels.begin(), [black_below](float x) {
    if (!(x > -1.0f)) return uint8_t{0};  // not a number, too
    const auto level = static_cast<uint8_t>(std::nearbyint((std::min(x, 1.0f) + 1.0f) * 127.5f));
    return level < black_below ? uint8_t{0} : level;
  });
  return image;
}

std::vector<float> ToModelPixels(const GreyImage& image) {
  std::vector<float> pixels(image.pixels.size());
  std::transform(image.pixels.begin(), image.pixels.end(), pixels.begin(),
                 [](uint8_t x) { return static_cast<float>(x) / 127.5f - 1.0f; });
  return pixels;
}

absl::StatusOr<GreyImage> MakeGrid(const std::vector<GreyImage>& images, int columns, int padding, uint8_t background) {
  if (images.empty() || columns < 1) {
    return absl::InvalidArgumentError("a grid needs at least one image and one column");
  }
  const int width = images[0].width;
  const int height = images[0].height;
  const int rows = (static_cast<int>(images.size()) + columns - 1) / columns;
  GreyImage grid{
      .width = padding + columns * (width + padding), .height = padding + rows * (height + padding), .pixels = {}};
  grid.pixels.assign(static_cast<size_t>(grid.width) * grid.height, background);
  for (size_t i = 0; i < images.size(); ++i) {
    if (images[i].width != width || images[i].height != height) {
      return absl::InvalidArgumentError("the images of a grid must all have one size");
    }
    const int left = padding + static_cast<int>(i) % columns * (width + padding);
    const int top = padding + static_cast<int>(i) / columns * (height + padding);
    for (int y = 0; y < height; ++y) {
      std::copy_n(images[i].pixels.begin() + static_cast<size_t>(y) * width, width,
                  grid.pixels.begin() + static_cast<size_t>(top + y) * grid.width + left);
    }
  }
  return grid;
}

}  // namespace denoised
