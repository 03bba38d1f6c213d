#include "trainer/data/class_names.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/support/class_names.h"
#include "common/support/file.h"
#include "common/support/quoted.h"
#include "common/support/status_macros.h"
#include "common/support/utf8.h"

namespace denoised {
namespace {

constexpr uint64_t kMaxFileBytes = 1 << 20;

std::vector<std::string> SplitNames(const std::string& text, char separator) {
  std::vector<std::string> names = absl::StrSplit(text, separator);
  for (std::string& name : names) absl::StripAsciiWhitespace(&name);
  return names;
}

}  // namespace

std::vector<std::string> NumbersAsNames(size_t classes) {
  std::vector<std::string> names;
  for (size_t i = 0; i < classes; ++i) names.push_back(absl::StrCat(i));
  return names;
}

absl::Status CheckClassNames(const std::string& source, const std::vector<std::string>& names) {
  if (names.empty() || names.size() > kMostClasses) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, " names ", names.size(), " classes, expected 1 to ", kMostClasses));
  }
  std::set<std::string> seen;
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string& name = names[i];
    const std::string which = absl::StrCat(source, ": the name of class ", i);
    if (name.empty()) return absl::InvalidArgumentError(absl::StrCat(which, " is empty"));
    if (name.size() > kLongestClassName) {
      return absl::InvalidArgumentError(
          absl::StrCat(which, " has ", name.size(), " bytes, expected at most ", kLongestClassName));
    }
    if (!IsUtf8(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat(which, " is not written in UTF-8: ", Quoted(name, kLongestClassName), "; convert it"));
    }
    if (std::any_of(name.begin(), name.end(), absl::ascii_iscntrl)) {
      return absl::InvalidArgumentError(
          absl::StrCat(which, " has control characters: \"", absl::CHexEscape(name), "\""));
    }
    if (IsClassNumber(name) && name != absl::StrCat(i)) {
      return absl::InvalidArgumentError(
          absl::StrCat(which, " is \"", name,
                       "\", which everybody takes for the number of a class; use a word, such as \"no ", name, "\""));
    }
    if (!seen.insert(name).second) {
      return absl::InvalidArgumentError(absl::StrCat(which, ", \"", name, "\", is another class's too"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ParseClassNames(const std::string& source, const std::string& text) {
  std::vector<std::string> names = SplitNames(text, ',');
  DENOISED_RETURN_IF_ERROR(CheckClassNames(source, names));
  return names;
}

absl::StatusOr<std::vector<std::string>> ReadClassNames(const std::string& path) {
  constexpr absl::string_view kByteOrderMark = "\xEF\xBB\xBF";  // which editors of Windows write
  DENOISED_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  std::vector<std::string> names = SplitNames(std::string(absl::StripPrefix(text, kByteOrderMark)), '\n');
  while (!names.empty() && names.back().empty()) names.pop_back();
  DENOISED_RETURN_IF_ERROR(CheckClassNames(path, names));
  return names;
}

}  // namespace denoised
