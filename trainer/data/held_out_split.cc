#include "trainer/data/held_out_split.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/image/image.h"
#include "common/support/digest.h"

namespace denoised {
namespace {

constexpr int kLabels = 256;  // as many as a byte can tell apart

using Counts = std::array<int64_t, kLabels>;

Counts CountLabels(const std::vector<uint8_t>& labels) {
  Counts counts{};
  for (const uint8_t label : labels) ++counts[label];
  return counts;
}

// How many each class gives up: the method of largest remainders.
Counts Shares(const Counts& images, int64_t total, int64_t count) {
  Counts shares{};
  std::vector<std::pair<int64_t, int>> by_remainder;  // largest first, so negative
  int64_t missing = count;
  for (int label = 0; label < kLabels; ++label) {
    shares[label] = count * images[label] / total;
    missing -= shares[label];
    by_remainder.emplace_back(-(count * images[label] % total), label);
  }
  std::sort(by_remainder.begin(), by_remainder.end());
  for (int64_t i = 0; i < missing; ++i) ++shares[by_remainder[i].second];
  return shares;
}

}  // namespace

std::vector<int64_t> MixedOrder(int64_t count, const std::string& purpose) {
  std::vector<std::pair<std::string, int64_t>> order;
  for (int64_t i = 0; i < count; ++i) order.emplace_back(Sha256Hex(absl::StrCat(purpose, " ", i)), i);
  std::sort(order.begin(), order.end());
  std::vector<int64_t> indices;
  for (const auto& [unused, index] : order) indices.push_back(index);
  return indices;
}

absl::StatusOr<SplitIndices> HeldOutSplit(const std::vector<uint8_t>& labels, int64_t count) {
  const auto total = static_cast<int64_t>(labels.size());
  if (count < 0 || count >= total) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot hold out ", count, " of ", total, " images: some must be left to learn from"));
  }
  Counts to_take = Shares(CountLabels(labels), total, count);
  SplitIndices split;
  for (const int64_t image : MixedOrder(total, "held out")) {
    const bool held_out = to_take[labels[image]] > 0;
    if (held_out) --to_take[labels[image]];
    (held_out ? split.held_out : split.kept).push_back(image);
  }
  std::sort(split.kept.begin(), split.kept.end());
  std::sort(split.held_out.begin(), split.held_out.end());
  return split;
}

Dataset Subset(const Dataset& data, const std::vector<int64_t>& indices) {
  Dataset subset;
  subset.class_names = data.class_names;
  subset.sha256 = data.sha256;
  subset.labels.reserve(indices.size());
  subset.pixels.reserve(indices.size() * kModelPixels);
  for (const int64_t i : indices) {
    subset.labels.push_back(data.labels[i]);
    const auto first = data.pixels.begin() + i * kModelPixels;
    subset.pixels.insert(subset.pixels.end(), first, first + kModelPixels);
  }
  return subset;
}

}  // namespace denoised
