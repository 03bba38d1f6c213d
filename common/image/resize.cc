#include "common/image/resize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/support/vector_clones.h"

namespace denoised {
namespace {

constexpr int kMaxSize = 16384;
constexpr int kMaxTaps = 8;
// Weights are multiples of 2^-11: a byte times two of them, summed over both directions, has less than 32 bits.
constexpr int kWeightBits = 11;

// How one row or column of output pixels comes about: the first pixel of the input under the filter, and the weights of
// that and the ones after it.
struct Taps {
  int first = 0;
  std::array<int, kMaxTaps> weights = {};
};

struct Filter {
  int taps = 2;
  double (*weight)(double distance) = nullptr;  // in pixels of the input, absolute
};

double Linear(double d) { return std::max(0.0, 1 - d); }

double Cubic(double d) {
  constexpr double kA = -0.75;
  if (d < 1) return ((kA + 2) * d - (kA + 3)) * d * d + 1;
  return d < 2 ? ((kA * d - 5 * kA) * d + 8 * kA) * d - 4 * kA : 0;
}

double Sinc(double d) { return d < 1e-9 ? 1 : std::sin(std::numbers::pi * d) / (std::numbers::pi * d); }
double Lanczos(double d) { return d < 4 ? Sinc(d) * Sinc(d / 4) : 0; }

Filter FilterOf(Interpolation interpolation) {
  switch (interpolation) {
    case Interpolation::kCubic:
      return {.taps = 4, .weight = Cubic};
    case Interpolation::kLanczos:
      return {.taps = 8, .weight = Lanczos};
    default:
      return {.taps = 2, .weight = Linear};
  }
}

// Weights that sum to one exactly, so that flat stays flat: the largest takes what rounding left.
void SetWeights(const Filter& filter, double fraction, Taps& taps) {
  const int before = filter.taps / 2 - 1;  // taps to the left of the one below the position
  std::array<double, kMaxTaps> exact = {};
  double sum = 0;
  for (int i = 0; i < filter.taps; ++i) {
    exact[i] = filter.weight(std::abs(i - before - fraction));
    sum += exact[i];
  }
  int rest = 1 << kWeightBits;
  for (int i = 0; i < filter.taps; ++i) {
    taps.weights[i] = static_cast<int>(std::nearbyint(exact[i] / sum * (1 << kWeightBits)));
    rest -= taps.weights[i];
  }
  *std::max_element(taps.weights.begin(), taps.weights.begin() + filter.taps) += rest;
}

std::vector<Taps> TapsOf(const Filter& filter, int from, int to) {
  std::vector<Taps> all(static_cast<size_t>(to));
  const double scale = 1 / (static_cast<double>(to) / from);
  for (int i = 0; i < to; ++i) {
    const auto position = static_cast<float>((i + 0.5) * scale - 0.5);  // NOTE: a float, as in OpenCV
    const float below = std::floor(position);
    all[i].first = static_cast<int>(below) - (filter.taps / 2 - 1);
    SetWeights(filter, position - below, all[i]);
  }
  return all;
}

// A row of the input, resized and not yet rounded.
void ResizeRow(const uint8_t* in, int width, int taps, const std::vector<Taps>& columns, int* out) {
  for (size_t x = 0; x < columns.size(); ++x) {
    int sum = 0;
    for (int i = 0; i < taps; ++i) sum += columns[x].weights[i] * in[std::clamp(columns[x].first + i, 0, width - 1)];
    out[x] = sum;
  }
}

DENOISED_VECTOR_CLONES void MixRows(const std::array<const int*, kMaxTaps>& rows, const Taps& taps, int count,
                                    int width, uint8_t* out) {
  constexpr int kHalf = 1 << (2 * kWeightBits - 1);
  for (int x = 0; x < width; ++x) {
    int sum = kHalf;
    for (int i = 0; i < count; ++i) sum += taps.weights[i] * rows[i][x];
    out[x] = static_cast<uint8_t>(std::clamp(sum >> (2 * kWeightBits), 0, 255));
  }
}

// The same of two rows, with the rounding that makes it OpenCV's: each product is cut off first.
DENOISED_VECTOR_CLONES void MixTwoRows(const int* upper, const int* lower, const Taps& taps, int width, uint8_t* out) {
  for (int x = 0; x < width; ++x) {
    const int sum = ((taps.weights[0] * (upper[x] >> 4)) >> 16) + ((taps.weights[1] * (lower[x] >> 4)) >> 16);
    out[x] = static_cast<uint8_t>((sum + 2) >> 2);
  }
}

GreyImage Filtered(const GreyImage& image, int size, const Filter& filter) {
  const std::vector<Taps> columns = TapsOf(filter, image.width, size), rows = TapsOf(filter, image.height, size);
  std::vector<int> wide(static_cast<size_t>(image.height) * static_cast<size_t>(size));
  const auto row_of = [&](int y) {
    return wide.data() + static_cast<size_t>(std::clamp(y, 0, image.height - 1)) * size;
  };
  for (int y = 0; y < image.height; ++y) {
    ResizeRow(image.pixels.data() + static_cast<size_t>(y) * image.width, image.width, filter.taps, columns, row_of(y));
  }
  GreyImage resized{.width = size, .height = size, .pixels = std::vector<uint8_t>(static_cast<size_t>(size) * size)};
  for (int y = 0; y < size; ++y) {
    uint8_t* const out = resized.pixels.data() + static_cast<size_t>(y) * size;
    std::array<const int*, kMaxTaps> under = {};
    for (int i = 0; i < filter.taps; ++i) under[i] = row_of(rows[y].first + i);
    if (filter.taps == 2) {
      MixTwoRows(under[0], under[1], rows[y], size, out);
    } else {
      MixRows(under, rows[y], filter.taps, size, out);
    }
  }
  return resized;
}

GreyImage Nearest(const GreyImage& image, int size) {
  GreyImage resized{.width = size, .height = size, .pixels = {}};
  resized.pixels.reserve(static_cast<size_t>(size) * size);
  for (int y = 0; y < size; ++y) {
    const size_t row = static_cast<size_t>(int64_t{y} * image.height / size) * image.width;
    for (int x = 0; x < size; ++x) resized.pixels.push_back(image.pixels[row + int64_t{x} * image.width / size]);
  }
  return resized;
}

}  // namespace

absl::StatusOr<GreyImage> Resize(const GreyImage& image, int size, Interpolation interpolation) {
  if (image.width == size && image.height == size) return image;
  if (image.width < 1 || image.height < 1 || size < 1 || size > kMaxSize) {
    return absl::InvalidArgumentError(absl::StrCat("cannot resize an image of ", image.width, "x", image.height,
                                                   " pixels to ", size, "x", size, ", which must be 1 to ", kMaxSize));
  }
  return interpolation == Interpolation::kNearest ? Nearest(image, size)
                                                  : Filtered(image, size, FilterOf(interpolation));
}

}  // namespace denoised
