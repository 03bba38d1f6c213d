#include "server/access/access_tokens.h"

#include <openssl/crypto.h>

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/support/digest.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr uint64_t kMaxFileBytes = 1 << 20;
constexpr size_t kMaxNameBytes = 64;
constexpr size_t kSha256Digits = 64;

bool IsName(const std::string& text) {
  return text.size() <= kMaxNameBytes && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.' || c == '@';
         });
}

bool IsSha256(const std::string& text) {
  return text.size() == kSha256Digits &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return absl::ascii_isxdigit(c); });
}

absl::StatusOr<Role> ParseRole(const std::string& name) {
  for (const Role role : {Role::kDraw, Role::kAdmin}) {
    if (name == RoleName(role)) return role;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the role must be draw or admin, got \"", absl::CHexEscape(name), "\""));
}

// NOTE: no error repeats the second word: whoever puts a token there by mistake would find it in the log.
absl::StatusOr<AccessTokens::Entry> ParseLine(const std::string& line) {
  const std::vector<std::string> words = absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
  if (words.size() < 2 || words.size() > 3) {
    return absl::InvalidArgumentError("must be a name, the SHA-256 of a token, and a role or nothing");
  }
  if (!IsName(words[0])) {
    return absl::InvalidArgumentError(absl::StrCat("the name must be at most ", kMaxNameBytes,
                                                   " letters, digits and -_.@, got \"", absl::CHexEscape(words[0]),
                                                   "\""));
  }
  if (!IsSha256(words[1])) {
    return absl::InvalidArgumentError(
        absl::StrCat("the second word must be a SHA-256, ", kSha256Digits,
                     " hexadecimal digits as sha256sum prints them, not the token itself"));
  }
  AccessTokens::Entry entry{.name = words[0], .sha256 = absl::AsciiStrToLower(words[1])};
  if (words.size() < 3) return entry;
  DENOISED_ASSIGN_OR_RETURN(entry.role, ParseRole(words[2]));
  return entry;
}

}  // namespace

const char* RoleName(Role role) { return role == Role::kAdmin ? "admin" : "draw"; }

absl::StatusOr<AccessTokens> AccessTokens::Parse(const std::string& text) {
  AccessTokens tokens;
  absl::flat_hash_set<std::string> known;
  int number = 0;
  for (const absl::string_view raw : absl::StrSplit(text, '\n')) {
    ++number;
    const absl::string_view line = absl::StripAsciiWhitespace(raw);
    if (line.empty() || line[0] == '#') continue;
    absl::StatusOr<Entry> entry = ParseLine(std::string(line));
    if (!entry.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": ", std::string(entry.status().message())));
    }
    if (!known.insert(entry->sha256).second) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": this token is in the file already"));
    }
    tokens.entries_.push_back(*std::move(entry));
  }
  if (tokens.entries_.empty()) {
    return absl::InvalidArgumentError(
        "there is no token in it, so that nobody could call; a line is a name and the "
        "SHA-256 of a token");
  }
  return tokens;
}

const AccessTokens::Entry* AccessTokens::Find(const std::string& token) const {
  const std::string sha256 = Sha256Hex(token);
  const Entry* found = nullptr;
  for (const Entry& entry : entries_) {
    if (CRYPTO_memcmp(entry.sha256.data(), sha256.data(), kSha256Digits) == 0) found = &entry;
  }
  return found;
}

absl::StatusOr<AccessTokens> LoadAccessTokens(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxFileBytes);
  if (!text.ok()) {
    return absl::Status(text.status().code(), absl::StrCat("--tokens: ", std::string(text.status().message())));
  }
  absl::StatusOr<AccessTokens> tokens = AccessTokens::Parse(*text);
  if (tokens.ok()) return tokens;
  return absl::InvalidArgumentError(absl::StrCat("--tokens: ", path, ": ", std::string(tokens.status().message())));
}

}  // namespace denoised
