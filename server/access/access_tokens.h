// File: access_tokens.h
//
// The file that says whose tokens may do what: lines of a name, the SHA-256 of the token in hexadecimal, and a role.
//
//   # name  SHA-256                                                            role: draw, or admin
//   lab     b5d4045c3f466fa91fe2cc6abe79232a1a57cdf104f7a26e716e0a1e2789df78   draw
//
// A line for a new random token, which is kept in the file lab.token:
//
//   openssl rand -hex 32 | tr -d '\n' >lab.token; echo "lab $(sha256sum <lab.token | cut -d ' ' -f 1)" >>tokens
//
// One name may have several tokens, so that a new one can be handed out before the old one goes. The hash is without
// salt: it keeps a token of 32 random bytes secret, not a password that somebody could guess.
//
// Immutable and thread-safe.
#ifndef DENOISED_SERVER_ACCESS_ACCESS_TOKENS_H_
#define DENOISED_SERVER_ACCESS_ACCESS_TOKENS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/access/refreshed.h"

namespace denoised {

// What a call may do; each role may do what those before it may.
enum class Role { kDraw, kAdmin };
const char* RoleName(Role role);

class AccessTokens {
 public:
  struct Entry {
    std::string name;
    std::string sha256;
    Role role = Role::kDraw;

    bool operator==(const Entry& other) const = default;
  };

  // INVALID_ARGUMENT names the line and what is wrong with it; a file without tokens is an error as well, as it would
  // lock everybody out.
  static absl::StatusOr<AccessTokens> Parse(const std::string& text);

  // Null for an unknown token. How long it takes does not depend on the token or on where it is found.
  const Entry* Find(const std::string& token) const;

  size_t size() const { return entries_.size(); }
  bool operator==(const AccessTokens& other) const = default;

 private:
  std::vector<Entry> entries_;
};

using TokenFile = Refreshed<AccessTokens>;

// The file's tokens. Errors of ReadFile and Parse, which name the flag --tokens.
absl::StatusOr<AccessTokens> LoadAccessTokens(const std::string& path);

}  // namespace denoised

#endif  // DENOISED_SERVER_ACCESS_ACCESS_TOKENS_H_
