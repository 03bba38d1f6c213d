#include "trainer/evaluation/evaluation_sheets.h"

#include <algorithm>
#include <numeric>
#include <opencv2/imgproc.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/image/image.h"
#include "common/image/png.h"
#include "common/image/resize.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr int kSide = 2 * kModelSize;  // of a picture on a sheet
constexpr uint8_t kPaper = 40, kInk = 210;

// ---- Contact sheet --------------------------------------------------------------------------------------------------

constexpr int kImagesPerDigit = 20;

absl::StatusOr<GreyImage> Enlarged(absl::Span<const uint8_t> pixels, size_t index) {
  const auto image = pixels.subspan(index * kModelPixels, kModelPixels);
  return Resize({.width = kModelSize, .height = kModelSize, .pixels = {image.begin(), image.end()}}, kSide,
                Interpolation::kCubic);
}

GreyImage BlankPicture() {
  return {.width = kSide, .height = kSide, .pixels = std::vector<uint8_t>(size_t{kSide} * kSide, kPaper)};
}

// ---- Nearest neighbours ---------------------------------------------------------------------------------------------

constexpr int kClosest = 16, kExamplesPerRow = 4;
constexpr int kGap = 2, kTextHeight = 24, kMargin = 24, kHeading = 34;
constexpr int kExampleWidth = 3 * kSide + 2 * kGap;
constexpr int kExampleHeight = kSide + kTextHeight;
constexpr int kColumnWidth = kExamplesPerRow * (kExampleWidth + kMargin);

int RowsFor(int examples) { return (examples + kExamplesPerRow - 1) / kExamplesPerRow; }

constexpr int kFont = cv::FONT_HERSHEY_SIMPLEX;

// The canvas that a sheet is drawn on.
class Sheet {
 public:
  Sheet(int width, int height) : picture_(height, width, CV_8UC1, cv::Scalar(kPaper)) {}

  void Write(const std::string& text, int x, int y, double scale) {
    cv::putText(picture_, text, {x, y}, kFont, scale, cv::Scalar(kInk), 1, cv::LINE_AA);
  }

  absl::Status Paste(absl::Span<const uint8_t> pixels, size_t index, int x, int y) {
    DENOISED_ASSIGN_OR_RETURN(GreyImage image, Enlarged(pixels, index));
    cv::Mat(kSide, kSide, CV_8UC1, image.pixels.data()).copyTo(picture_(cv::Rect(x, y, kSide, kSide)));
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> ToPng() const {
    return EncodePng({.width = picture_.cols,
                      .height = picture_.rows,
                      .pixels = std::vector<uint8_t>(picture_.datastart, picture_.dataend)});
  }

 private:
  cv::Mat picture_;
};

// Indices of the set's images, the closest to a training image first.
std::vector<size_t> ByDistance(const NeighbourSet& set) {
  std::vector<size_t> order(set.neighbours.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return set.neighbours[a].nearest_distance < set.neighbours[b].nearest_distance;
  });
  return order;
}

std::vector<size_t> ClosestOfEachDigit(const NeighbourSet& set, const std::vector<size_t>& by_distance) {
  std::vector<size_t> closest;
  for (int digit = 0; digit < kDigits; ++digit) {
    const auto found =
        std::find_if(by_distance.begin(), by_distance.end(), [&](size_t index) { return set.labels[index] == digit; });
    if (found != by_distance.end()) closest.push_back(*found);
  }
  return closest;
}

absl::Status DrawExamples(const NeighbourSet& set, const std::vector<size_t>& examples,
                          absl::Span<const uint8_t> training_pixels, int left, int top, Sheet& sheet) {
  for (size_t i = 0; i < examples.size(); ++i) {
    const Neighbours& neighbours = set.neighbours[examples[i]];
    const int x = left + static_cast<int>(i % kExamplesPerRow) * (kExampleWidth + kMargin);
    const int y = top + static_cast<int>(i / kExamplesPerRow) * kExampleHeight;
    DENOISED_RETURN_IF_ERROR(sheet.Paste(set.pixels, examples[i], x, y));
    DENOISED_RETURN_IF_ERROR(sheet.Paste(training_pixels, neighbours.nearest, x + kSide + kGap, y));
    DENOISED_RETURN_IF_ERROR(sheet.Paste(training_pixels, neighbours.second, x + 2 * (kSide + kGap), y));
    sheet.Write(absl::StrFormat("distance %.2f  ratio %.2f", neighbours.nearest_distance, neighbours.ratio()), x,
                y + kSide + 14, 0.4);
  }
  return absl::OkStatus();
}

absl::Status DrawColumn(const NeighbourSet& set, absl::Span<const uint8_t> training_pixels, int left, Sheet& sheet) {
  std::vector<size_t> closest = ByDistance(set);
  const std::vector<size_t> of_each_digit = ClosestOfEachDigit(set, closest);
  closest.resize(std::min<size_t>(closest.size(), kClosest));
  int y = kMargin;
  sheet.Write(absl::StrCat(set.title, ": image, nearest and second nearest training image"), left, y, 0.5);
  y += kHeading;
  sheet.Write(absl::StrCat("The ", closest.size(), " closest"), left, y - 10, 0.5);
  DENOISED_RETURN_IF_ERROR(DrawExamples(set, closest, training_pixels, left, y, sheet));
  y += RowsFor(kClosest) * kExampleHeight + kHeading;
  sheet.Write("The closest of each digit", left, y - 10, 0.5);
  return DrawExamples(set, of_each_digit, training_pixels, left, y, sheet);
}

}  // namespace

absl::StatusOr<std::string> DrawContactSheet(absl::Span<const uint8_t> pixels, absl::Span<const uint8_t> labels) {
  std::vector<GreyImage> pictures(size_t{kDigits} * kImagesPerDigit, BlankPicture());
  DigitCounts placed = {};
  for (size_t i = 0; i < labels.size(); ++i) {
    int& column = placed[labels[i]];
    if (column == kImagesPerDigit) continue;
    DENOISED_ASSIGN_OR_RETURN(pictures[labels[i] * kImagesPerDigit + column++], Enlarged(pixels, i));
  }
  DENOISED_ASSIGN_OR_RETURN(const GreyImage grid, MakeGrid(pictures, kImagesPerDigit, /*padding=*/4, kPaper));
  return EncodePng(grid);
}

absl::StatusOr<std::string> DrawNeighbourSheet(const NeighbourSet& generated, const NeighbourSet& test,
                                               absl::Span<const uint8_t> training_pixels) {
  const int rows = RowsFor(kClosest) + RowsFor(kDigits);
  try {
    Sheet sheet(2 * (kColumnWidth + kMargin), kMargin + 2 * kHeading + rows * kExampleHeight);
    DENOISED_RETURN_IF_ERROR(DrawColumn(generated, training_pixels, kMargin, sheet));
    DENOISED_RETURN_IF_ERROR(DrawColumn(test, training_pixels, 2 * kMargin + kColumnWidth, sheet));
    return sheet.ToPng();
  } catch (const cv::Exception& e) {
    return absl::InternalError(absl::StrCat("cannot draw the nearest neighbours: ", e.err));
  }
}

}  // namespace denoised
