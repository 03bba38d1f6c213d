#include "common/plot/plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace denoised {
namespace {

constexpr int kWidth = 1200, kHeight = 720;
constexpr int kLeft = 110, kRight = 230, kTop = 70, kBottom = 90;  // margins; the lines' names stand on the right
constexpr int kTicks = 8;
constexpr int kFont = cv::FONT_HERSHEY_SIMPLEX;
const cv::Scalar kInk(60, 60, 60), kGrid(228, 228, 228), kPaper(255, 255, 255);

// Colours that stay apart for colour-blind eyes (Okabe and Ito, 2008); blue, green, red as OpenCV has them.
const std::array<cv::Scalar, 7> kColours = {
    cv::Scalar(178, 114, 0), cv::Scalar(0, 94, 213),   cv::Scalar(115, 158, 0), cv::Scalar(167, 121, 204),
    cv::Scalar(0, 159, 230), cv::Scalar(233, 180, 86), cv::Scalar(0, 0, 0)};

// One axis: from values to pixels.
class Axis {
 public:
  Axis(double low, double high, bool logarithmic, double first_pixel, double last_pixel)
      : logarithmic_(logarithmic), low_(Scale(low)), first_(first_pixel) {
    const double range = Scale(high) - low_;
    pixels_per_unit_ = (last_pixel - first_pixel) / range;
  }
  double Pixel(double value) const { return first_ + (Scale(value) - low_) * pixels_per_unit_; }

 private:
  double Scale(double value) const { return logarithmic_ ? std::log10(value) : value; }

  const bool logarithmic_;
  const double low_;
  const double first_;
  double pixels_per_unit_ = 1;
};

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
};

Range RangeOf(const std::vector<PlotLine>& lines, std::vector<double> PlotLine::*values) {
  Range range;
  for (const PlotLine& line : lines) {
    for (const double value : line.*values) {
      if (!std::isfinite(value)) continue;
      range.low = std::min(range.low, value);
      range.high = std::max(range.high, value);
    }
  }
  return range;
}

// A little air, and never an empty range.
Range Widened(Range range, bool logarithmic) {
  if (logarithmic) {
    const double air = std::max(1.005, std::pow(range.high / range.low, 0.04));
    return {range.low / air, range.high * air};
  }
  const double size = std::max(std::abs(range.low), std::abs(range.high));
  const double air = range.high - range.low > 1e-9 * size ? 0.04 * (range.high - range.low) : std::max(1.0, size);
  return {range.low - air, range.high + air};
}

absl::Status Check(const std::vector<PlotLine>& lines, const PlotOptions& options, const Range& x, const Range& y) {
  for (const PlotLine& line : lines) {
    if (line.x.size() == line.y.size()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the line \"", line.name, "\" has ", line.x.size(), " x and ", line.y.size(), " y values"));
  }
  if (!(x.low <= x.high) || !(y.low <= y.high)) return absl::InvalidArgumentError("there is nothing to plot");
  if ((options.log_x && x.low <= 0) || (options.log_y && y.low <= 0)) {
    return absl::InvalidArgumentError("a logarithmic axis needs values above 0");
  }
  return absl::OkStatus();
}

cv::Size TextSize(const std::string& text, double scale) {
  int baseline = 0;
  return cv::getTextSize(text, kFont, scale, 1, &baseline);
}

void Text(cv::Mat& picture, const std::string& text, double x, double y, double scale, const cv::Scalar& colour) {
  cv::putText(picture, text, cv::Point(cvRound(x), cvRound(y)), kFont, scale, colour, 1, cv::LINE_AA);
}

std::string TickText(double value) { return absl::StrFormat("%.6g", value); }

void DrawAxes(cv::Mat& picture, const Axis& x, const Axis& y, const Range& x_range, const Range& y_range,
              const PlotOptions& options) {
  const int bottom = kHeight - kBottom, right = kWidth - kRight;
  for (const double tick : AxisTicks(x_range.low, x_range.high, kTicks, options.log_x)) {
    const int at = cvRound(x.Pixel(tick));
    cv::line(picture, {at, kTop}, {at, bottom}, kGrid, 1, cv::LINE_AA);
    const std::string text = TickText(tick);
    Text(picture, text, at - TextSize(text, 0.5).width / 2.0, bottom + 26, 0.5, kInk);
  }
  for (const double tick : AxisTicks(y_range.low, y_range.high, kTicks, options.log_y)) {
    const int at = cvRound(y.Pixel(tick));
    cv::line(picture, {kLeft, at}, {right, at}, kGrid, 1, cv::LINE_AA);
    const std::string text = TickText(tick);
    Text(picture, text, kLeft - 12 - TextSize(text, 0.5).width, at + 5, 0.5, kInk);
  }
  cv::line(picture, {kLeft, bottom}, {right, bottom}, kInk, 1, cv::LINE_AA);
  Text(picture, options.title, kLeft, 36, 0.75, kInk);
  Text(picture, options.y_label, kLeft, kTop - 10, 0.5, kInk);
  Text(picture, options.x_label, right - TextSize(options.x_label, 0.5).width, bottom + 58, 0.5, kInk);
}

void DrawSegment(cv::Mat& picture, const cv::Point2d& from, const cv::Point2d& to, bool dashed,
                 const cv::Scalar& colour) {
  const double length = cv::norm(to - from), dash = dashed ? 8 : length;
  for (double at = 0; at < length; at += 2 * dash) {
    const cv::Point2d step = (to - from) * (1 / length);
    cv::line(picture, from + step * at, from + step * std::min(at + dash, length), colour, 2, cv::LINE_AA);
  }
}

// Draws the line and returns where it ends, for its name.
cv::Point2d DrawLine(cv::Mat& picture, const PlotLine& line, const Axis& x, const Axis& y, const cv::Scalar& colour) {
  cv::Point2d last;
  bool connected = false;
  for (size_t i = 0; i < line.x.size(); ++i) {
    if (!std::isfinite(line.y[i])) {
      connected = false;
      continue;
    }
    const cv::Point2d point(x.Pixel(line.x[i]), y.Pixel(line.y[i]));
    if (connected) DrawSegment(picture, last, point, line.dashed, colour);
    if (line.points || line.x.size() == 1) cv::circle(picture, point, 4, colour, cv::FILLED, cv::LINE_AA);
    last = point;
    connected = true;
  }
  return last;
}

struct LineName {
  std::string text;
  double y;
  cv::Scalar colour;
};

// Names beside the ends of their lines, moved apart where they would cover one another.
void DrawNames(cv::Mat& picture, std::vector<LineName> names) {
  constexpr double kLineHeight = 22;
  std::sort(names.begin(), names.end(), [](const LineName& a, const LineName& b) { return a.y < b.y; });
  for (size_t i = 1; i < names.size(); ++i) names[i].y = std::max(names[i].y, names[i - 1].y + kLineHeight);
  double lowest = kHeight - kBottom;
  for (size_t i = names.size(); i-- > 0; lowest = names[i].y - kLineHeight) names[i].y = std::min(names[i].y, lowest);
  for (const LineName& name : names) Text(picture, name.text, kWidth - kRight + 12, name.y + 5, 0.5, name.colour);
}

}  // namespace

std::vector<double> AxisTicks(double low, double high, int count, bool logarithmic) {
  std::vector<double> ticks;
  if (logarithmic) {
    const bool whole_powers = std::log10(high / low) > count / 2.0;
    for (double power = std::floor(std::log10(low)); power <= std::log10(high); ++power) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        const double tick = factor * std::pow(10, power);
        if (tick >= low && tick <= high && (factor == 1 || !whole_powers)) ticks.push_back(tick);
      }
    }
    if (ticks.size() > 2) return ticks;
    ticks.clear();  // less than a decade: round numbers tell more
  }
  const double raw = (high - low) / count, power = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0}) {
    if (factor * power >= raw) step = factor * power;
  }
  for (double i = std::ceil(low / step); i * step <= high; ++i) ticks.push_back(i * step + 0.0);  // no negative zero
  return ticks;
}

bool CanPlot() { return true; }

absl::StatusOr<std::string> DrawPlot(const std::vector<PlotLine>& lines, const PlotOptions& options) {
  const Range x_data = RangeOf(lines, &PlotLine::x), y_data = RangeOf(lines, &PlotLine::y);
  if (const absl::Status status = Check(lines, options, x_data, y_data); !status.ok()) return status;
  const Range x_range = Widened(x_data, options.log_x), y_range = Widened(y_data, options.log_y);
  const Axis x(x_range.low, x_range.high, options.log_x, kLeft, kWidth - kRight);
  const Axis y(y_range.low, y_range.high, options.log_y, kHeight - kBottom, kTop);
  try {
    cv::Mat picture(kHeight, kWidth, CV_8UC3, kPaper);
    DrawAxes(picture, x, y, x_range, y_range, options);
    std::vector<LineName> names;
    for (size_t i = 0; i < lines.size(); ++i) {
      const cv::Scalar& colour = kColours[i % kColours.size()];
      names.push_back({lines[i].name, DrawLine(picture, lines[i], x, y, colour).y, colour});
    }
    DrawNames(picture, std::move(names));
    std::vector<uint8_t> png;
    if (cv::imencode(".png", picture, png)) return std::string(png.begin(), png.end());
  } catch (const cv::Exception& e) {
    return absl::InternalError(absl::StrCat("cannot draw the plot: ", e.err));
  }
  return absl::InternalError("cannot write the plot as a PNG");
}

}  // namespace denoised
