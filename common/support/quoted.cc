#include "common/support/quoted.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/support/utf8.h"

namespace denoised {
namespace {

// U+0080 to U+009F: terminals take them for ESC and a letter.
bool IsHighControl(std::string_view letter) {
  return letter.size() == 2 && letter[0] == '\xC2' && static_cast<unsigned char>(letter[1]) < 0xA0;
}

// The letter that `text` begins with, and as something visible.
struct Letter {
  std::string_view bytes;
  std::string visible;
};

Letter FirstLetter(std::string_view text) {
  const size_t size = LetterBytes(text);
  const std::string_view bytes = text.substr(0, std::max<size_t>(size, 1));
  const bool stays = size > 0 && !absl::ascii_iscntrl(bytes[0]) && !IsHighControl(bytes);
  return {.bytes = bytes,
          .visible = stays ? std::string(bytes) : absl::CHexEscape(absl::string_view(bytes.data(), bytes.size()))};
}

}  // namespace

std::string Visible(std::string_view text) {
  std::string visible;
  while (!text.empty()) {
    const Letter letter = FirstLetter(text);
    visible += letter.visible;
    text.remove_prefix(letter.bytes.size());
  }
  return visible;
}

std::string Quoted(std::string_view text, size_t max_bytes) {
  std::string quoted = "\"";
  while (!text.empty()) {
    if (quoted.size() > max_bytes) return absl::StrCat(quoted, "...\"");
    const Letter letter = FirstLetter(text);
    if (letter.visible == "\"" || letter.visible == "\\") quoted += '\\';
    quoted += letter.visible;
    text.remove_prefix(letter.bytes.size());
  }
  return quoted += '"';
}

}  // namespace denoised
