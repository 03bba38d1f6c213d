#include "common/image/image.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace denoised {
namespace {

// A view, not a copy: `image` must outlive it and is not written through it.
cv::Mat View(const GreyImage& image) {
  return cv::Mat(image.height, image.width, CV_8UC1, const_cast<uint8_t*>(image.pixels.data()));
}

GreyImage Copy(const cv::Mat& mat) {
  GreyImage image{.width = mat.cols, .height = mat.rows, .pixels = {}};
  image.pixels.reserve(static_cast<size_t>(mat.rows) * mat.cols);
  for (int y = 0; y < mat.rows; ++y) image.pixels.insert(image.pixels.end(), mat.ptr(y), mat.ptr(y) + mat.cols);
  return image;
}

int OpenCvInterpolation(Interpolation interpolation) {
  switch (interpolation) {
    case Interpolation::kNearest:
      return cv::INTER_NEAREST;
    case Interpolation::kLinear:
      return cv::INTER_LINEAR;
    case Interpolation::kCubic:
      return cv::INTER_CUBIC;
    case Interpolation::kLanczos:
      return cv::INTER_LANCZOS4;
  }
  return cv::INTER_CUBIC;
}

}  // namespace

GreyImage FromModelPixels(absl::Span<const float> pixels, int width, int height) {
  GreyImage image{.width = width, .height = height, .pixels = std::vector<uint8_t>(pixels.size())};
  std::transform(pixels.begin(), pixels.end(), image.pixels.begin(), [](float x) {
    if (!(x > -1.0f)) return uint8_t{0};  // not a number, too
    return static_cast<uint8_t>(std::nearbyint((std::min(x, 1.0f) + 1.0f) * 127.5f));
  });
  return image;
}

std::vector<float> ToModelPixels(const GreyImage& image) {
  std::vector<float> pixels(image.pixels.size());
  std::transform(image.pixels.begin(), image.pixels.end(), pixels.begin(),
                 [](uint8_t x) { return static_cast<float>(x) / 127.5f - 1.0f; });
  return pixels;
}

absl::StatusOr<GreyImage> Resize(const GreyImage& image, int size, Interpolation interpolation) {
  if (image.width == size && image.height == size) return image;
  try {
    cv::Mat resized;
    cv::resize(View(image), resized, cv::Size(size, size), 0, 0, OpenCvInterpolation(interpolation));
    return Copy(resized);
  } catch (const cv::Exception& e) {
    return absl::InternalError(absl::StrCat("cannot resize an image to ", size, " pixels: ", e.err));
  }
}

absl::StatusOr<std::string> EncodePng(const GreyImage& image) {
  try {
    std::vector<uint8_t> png;
    if (!cv::imencode(".png", View(image), png)) return absl::InternalError("cannot encode an image as PNG");
    return std::string(png.begin(), png.end());
  } catch (const cv::Exception& e) {
    return absl::InternalError(absl::StrCat("cannot encode an image as PNG: ", e.err));
  }
}

absl::StatusOr<GreyImage> DecodePng(std::string_view png) {
  try {
    const std::vector<uint8_t> bytes(png.begin(), png.end());
    const cv::Mat decoded = bytes.empty() ? cv::Mat() : cv::imdecode(bytes, cv::IMREAD_GRAYSCALE);
    if (decoded.empty()) return absl::InvalidArgumentError("these bytes are not a PNG image");
    return Copy(decoded);
  } catch (const cv::Exception& e) {
    return absl::InvalidArgumentError(absl::StrCat("these bytes are not a PNG image: ", e.err));
  }
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
