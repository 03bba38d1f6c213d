#include "common/support/class_names.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/support/quoted.h"

namespace denoised {
namespace {

constexpr size_t kMaxListed = 10;

}  // namespace

bool AreCalledByNumber(const std::vector<std::string>& class_names) {
  for (size_t i = 0; i < class_names.size(); ++i) {
    if (class_names[i] != absl::StrCat(i)) return false;
  }
  return true;
}

bool IsClassNumber(std::string_view text) {
  if (!text.empty() && text[0] == '-') text.remove_prefix(1);
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

std::string ListClasses(const std::vector<std::string>& class_names, bool with_numbers) {
  const size_t listed = std::min(class_names.size(), kMaxListed);
  std::vector<std::string> parts;
  for (size_t i = 0; i < listed; ++i) {
    parts.push_back(with_numbers ? absl::StrCat(i, " ", Quoted(class_names[i])) : Quoted(class_names[i]));
  }
  if (class_names.size() > listed) parts.push_back(absl::StrCat(class_names.size() - listed, " more"));
  return Enumerated(parts, "and");
}

std::string Enumerated(const std::vector<std::string>& parts, const char* last_word) {
  if (parts.size() < 2) return absl::StrJoin(parts, "");
  return absl::StrCat(absl::StrJoin(parts.begin(), parts.end() - 1, ", "), " ", last_word, " ", parts.back());
}

}  // namespace denoised
