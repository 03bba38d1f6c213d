#include "server/access/access_control.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/support/loopback.h"
#include "common/support/status_macros.h"
#include "server/access/client_identity.h"

namespace denoised {
namespace {

constexpr char kAuthorization[] = "authorization";
constexpr absl::string_view kBearer = "bearer ";

absl::Status NoToken() {
  return absl::UnauthenticatedError(
      "this server asks for a token: send the metadata \"authorization: Bearer TOKEN\", or draw with denoise "
      "--token_file FILE");
}

absl::Status NotFromAfar() {
  return absl::PermissionDeniedError(
      "this takes the role admin: without --tokens only callers on the server's own machine have it");
}

// None if there is none, or if there are several, of which one could be another's.
std::optional<std::string> Authorization(const grpc::ServerContextBase& context) {
  const auto [begin, end] = context.client_metadata().equal_range(kAuthorization);
  if (begin == end || std::next(begin) != end) return std::nullopt;
  return std::string(begin->second.data(), begin->second.size());
}

}  // namespace

AccessControl::AccessControl(std::shared_ptr<const TokenFile> tokens, std::string client_header)
    : tokens_(std::move(tokens)), client_header_(std::move(client_header)) {}

absl::StatusOr<std::string> AccessControl::AdmitToken(const std::optional<std::string>& authorization,
                                                      Role role) const {
  if (tokens_ == nullptr) return std::string();
  if (!authorization.has_value()) return NoToken();
  if (!absl::StartsWithIgnoreCase(*authorization, kBearer)) {
    return absl::UnauthenticatedError(
        "the authorization metadata must be \"Bearer TOKEN\"; other schemes are not known here");
  }
  std::string token = authorization->substr(kBearer.size());
  absl::StripAsciiWhitespace(&token);
  const std::shared_ptr<const AccessTokens> tokens = tokens_->value();
  const AccessTokens::Entry* entry = tokens->Find(token);
  if (entry == nullptr) {
    return absl::UnauthenticatedError(
        "the token is not one that this server knows; it may have been replaced: ask the server's operator");
  }
  if (entry->role < role) {
    return absl::PermissionDeniedError(absl::StrCat("the token of \"", entry->name, "\" has the role ",
                                                    RoleName(entry->role), "; this takes the role ", RoleName(role)));
  }
  return entry->name;
}

absl::StatusOr<std::string> AccessControl::Admit(const grpc::ServerContextBase& context, Role role) const {
  DENOISED_ASSIGN_OR_RETURN(const std::string name, AdmitToken(Authorization(context), role));
  if (tokens_ == nullptr && role == Role::kAdmin && !IsLocalPeer(CallerOf(context))) return NotFromAfar();
  return ClientIdentity(context, {.token_name = name, .trusted_header = client_header_});
}

absl::Status CheckTokensAreSafe(const AccessOptions& access, const std::string& flag, const std::string& listen,
                                const std::string& own, bool tls) {
  if (access.tokens.empty() || tls || access.allow_plain_tokens || IsLoopback(listen)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--tokens: without TLS, tokens would reach ", listen,
                   " readable for everybody on the way; give --tls_cert and --tls_key, or ", flag, "=", own,
                   ", or --allow_plain_tokens where something in front speaks TLS"));
}

}  // namespace denoised
