#include "server/service/class_lookup.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/support/class_names.h"
#include "common/support/edit_distance.h"
#include "common/support/quoted.h"

namespace denoised {
namespace {

constexpr size_t kMaxSuggested = 3;
constexpr size_t kLongestNear = 64;  // bytes of a name that others are compared with

bool DifferByCaseAlone(std::string_view a, std::string_view b) {
  return absl::EqualsIgnoreCase(absl::string_view(a.data(), a.size()), absl::string_view(b.data(), b.size()));
}

// The classes whose names are nearest to this one, if a slip could have made it of theirs.
std::vector<std::string> Near(const std::vector<std::string>& class_names, std::string_view name) {
  std::vector<std::string> near;
  if (name.size() > kLongestNear) return near;
  size_t least = name.size() / 3;  // of three letters one may be wrong
  for (const std::string& each : class_names) {
    if (each.size() > name.size() + least || name.size() > each.size() + least) continue;
    const size_t distance = EditDistance(name, each);
    if (distance > least) continue;
    if (distance < least) near.clear();
    least = distance;
    near.push_back(Quoted(each));
  }
  if (near.size() > kMaxSuggested) near.resize(kMaxSuggested);
  return near;
}

}  // namespace

std::optional<int> FindClass(const std::vector<std::string>& class_names, std::string_view name) {
  const auto exact = std::find(class_names.begin(), class_names.end(), name);
  if (exact != class_names.end()) return static_cast<int>(exact - class_names.begin());
  const auto is_near = [name](const std::string& each) { return DifferByCaseAlone(each, name); };
  const auto first = std::find_if(class_names.begin(), class_names.end(), is_near);
  if (first == class_names.end() || std::find_if(first + 1, class_names.end(), is_near) != class_names.end()) {
    return std::nullopt;
  }
  return static_cast<int>(first - class_names.begin());
}

std::string UnknownClassText(const std::vector<std::string>& class_names, std::string_view name) {
  const std::vector<std::string> near = Near(class_names, name);
  return absl::StrCat("must be one of ", ListClasses(class_names, /*with_numbers=*/false), ", got ", Quoted(name),
                      near.empty() ? "" : absl::StrCat("; did you mean ", Enumerated(near, "or"), "?"));
}

}  // namespace denoised
