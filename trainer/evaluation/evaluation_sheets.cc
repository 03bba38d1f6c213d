#include "trainer/evaluation/evaluation_sheets.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <opencv2/imgproc.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/image/image.h"
#include "common/image/png.h"
#include "common/image/resize.h"
#include "common/support/class_names.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr int kSide = 2 * kModelSize;  // of a picture on a sheet
constexpr uint8_t kPaper = 40, kInk = 210;
constexpr int kFont = cv::FONT_HERSHEY_SIMPLEX;
constexpr double kTextScale = 0.5, kSmallTextScale = 0.4;

// ---- What both sheets are drawn on ----------------------------------------------------------------------------------

absl::StatusOr<GreyImage> Enlarged(absl::Span<const uint8_t> pixels, size_t index) {
  const auto image = pixels.subspan(index * kModelPixels, kModelPixels);
  return Resize({.width = kModelSize, .height = kModelSize, .pixels = {image.begin(), image.end()}}, kSide,
                Interpolation::kCubic);
}

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

// ---- Contact sheet --------------------------------------------------------------------------------------------------

constexpr int kMostRows = 40;                           // of classes, below one another
constexpr int kImagesAcross = 20, kFewestOfAClass = 4;  // images
constexpr int kPadding = 4, kCell = kSide + kPadding;
constexpr size_t kLongestLabel = 16;

// What stands before a class's images. The font has no letters but ASCII's.
std::string LabelOf(const std::vector<std::string>& class_names, size_t i) {
  const std::string& name = class_names[i];
  const bool can_be_written = std::all_of(name.begin(), name.end(), absl::ascii_isprint);
  if (AreCalledByNumber(class_names) || !can_be_written) return absl::StrCat(i);
  const std::string label = absl::StrCat(i, " ", name);
  return label.size() <= kLongestLabel ? label : label.substr(0, kLongestLabel - 2) + "..";
}

// Where the classes of a contact sheet stand: one below the other, then in further columns.
class ContactPlan {
 public:
  explicit ContactPlan(const std::vector<std::string>& class_names) {
    const auto classes = static_cast<int>(class_names.size());
    columns_ = (classes + kMostRows - 1) / kMostRows;
    rows_ = (classes + columns_ - 1) / columns_;
    images_ = std::max(kFewestOfAClass, kImagesAcross / columns_);
    for (size_t i = 0; i < class_names.size(); ++i) {
      const std::string label = LabelOf(class_names, i);
      label_width_ = std::max(label_width_, cv::getTextSize(label, kFont, kTextScale, 1, nullptr).width + 2 * kPadding);
    }
  }

  int images() const { return images_; }  // of each class
  int width() const { return columns_ * (label_width_ + images_ * kCell) + kPadding; }
  int height() const { return rows_ * kCell + kPadding; }
  cv::Point LabelAt(int label) const {
    return {label / rows_ * (label_width_ + images_ * kCell) + kPadding, label % rows_ * kCell + kPadding};
  }
  cv::Point ImageAt(int label, int image) const { return LabelAt(label) + cv::Point(label_width_ + image * kCell, 0); }

 private:
  int columns_, rows_, images_, label_width_ = 0;
};

absl::StatusOr<std::string> DrawContacts(absl::Span<const uint8_t> pixels, absl::Span<const uint8_t> labels,
                                         const std::vector<std::string>& class_names) {
  const ContactPlan plan(class_names);
  Sheet sheet(plan.width(), plan.height());
  for (size_t i = 0; i < class_names.size(); ++i) {
    const cv::Point at = plan.LabelAt(static_cast<int>(i));
    sheet.Write(LabelOf(class_names, i), at.x, at.y + kSide / 2, kTextScale);
  }
  std::vector<int> placed(class_names.size());
  for (size_t i = 0; i < labels.size(); ++i) {
    int& image = placed[labels[i]];
    if (image == plan.images()) continue;
    const cv::Point at = plan.ImageAt(labels[i], image++);
    DENOISED_RETURN_IF_ERROR(sheet.Paste(pixels, i, at.x, at.y));
  }
  return sheet.ToPng();
}

// ---- Nearest neighbours ---------------------------------------------------------------------------------------------

constexpr int kClosest = 16, kExamplesPerRow = 4;
constexpr int kGap = 2, kTextHeight = 24, kMargin = 24, kHeading = 34;
constexpr int kExampleWidth = 3 * kSide + 2 * kGap;
constexpr int kExampleHeight = kSide + kTextHeight;
constexpr int kColumnWidth = kExamplesPerRow * (kExampleWidth + kMargin);

int RowsFor(int examples) { return (examples + kExamplesPerRow - 1) / kExamplesPerRow; }

// Indices of the set's images, the closest to a training image first.
std::vector<size_t> ByDistance(const NeighbourSet& set) {
  std::vector<size_t> order(set.neighbours.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return set.neighbours[a].nearest_distance < set.neighbours[b].nearest_distance;
  });
  return order;
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
                y + kSide + 14, kSmallTextScale);
  }
  return absl::OkStatus();
}

// What a column of the sheet shows.
struct Examples {
  std::vector<size_t> closest;
  std::vector<size_t> of_each_class;
};

Examples ChooseExamples(const NeighbourSet& set) {
  Examples examples{.closest = ByDistance(set), .of_each_class = {}};
  std::map<uint8_t, size_t> by_class;
  for (const size_t index : examples.closest) by_class.emplace(set.labels[index], index);  // the first stays
  for (const auto& [unused, index] : by_class) examples.of_each_class.push_back(index);
  examples.closest.resize(std::min<size_t>(examples.closest.size(), kClosest));
  return examples;
}

absl::Status DrawColumn(const NeighbourSet& set, const Examples& examples, absl::Span<const uint8_t> training_pixels,
                        int left, Sheet& sheet) {
  int y = kMargin;
  sheet.Write(absl::StrCat(set.title, ": image, nearest and second nearest training image"), left, y, kTextScale);
  y += kHeading;
  sheet.Write(absl::StrCat("The ", examples.closest.size(), " closest"), left, y - 10, kTextScale);
  DENOISED_RETURN_IF_ERROR(DrawExamples(set, examples.closest, training_pixels, left, y, sheet));
  y += RowsFor(kClosest) * kExampleHeight + kHeading;
  sheet.Write("The closest of each class", left, y - 10, kTextScale);
  return DrawExamples(set, examples.of_each_class, training_pixels, left, y, sheet);
}

absl::StatusOr<std::string> DrawNeighbours(const NeighbourSet& generated, const NeighbourSet& real,
                                           absl::Span<const uint8_t> training_pixels) {
  const Examples ours = ChooseExamples(generated), theirs = ChooseExamples(real);
  const size_t classes = std::max(ours.of_each_class.size(), theirs.of_each_class.size());
  const int rows = RowsFor(kClosest) + RowsFor(static_cast<int>(classes));
  Sheet sheet(2 * (kColumnWidth + kMargin), kMargin + 2 * kHeading + rows * kExampleHeight);
  DENOISED_RETURN_IF_ERROR(DrawColumn(generated, ours, training_pixels, kMargin, sheet));
  DENOISED_RETURN_IF_ERROR(DrawColumn(real, theirs, training_pixels, 2 * kMargin + kColumnWidth, sheet));
  return sheet.ToPng();
}

}  // namespace

absl::StatusOr<std::string> DrawContactSheet(absl::Span<const uint8_t> pixels, absl::Span<const uint8_t> labels,
                                             const std::vector<std::string>& class_names) {
  try {
    return DrawContacts(pixels, labels, class_names);
  } catch (const cv::Exception& e) {
    return absl::InternalError(absl::StrCat("cannot draw the contact sheet: ", e.err));
  }
}

absl::StatusOr<std::string> DrawNeighbourSheet(const NeighbourSet& generated, const NeighbourSet& real,
                                               absl::Span<const uint8_t> training_pixels) {
  try {
    return DrawNeighbours(generated, real, training_pixels);
  } catch (const cv::Exception& e) {
    return absl::InternalError(absl::StrCat("cannot draw the nearest neighbours: ", e.err));
  }
}

}  // namespace denoised
