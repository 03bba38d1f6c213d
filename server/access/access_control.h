// File: access_control.h
//
// May this call do what it asks for, and whose is it?
//
//   const absl::StatusOr<std::string> client = access.Admit(*context, Role::kDraw);
//   if (!client.ok()) return Refuse(client.status());
//
// Thread-safe.
#ifndef DENOISED_SERVER_ACCESS_ACCESS_CONTROL_H_
#define DENOISED_SERVER_ACCESS_ACCESS_CONTROL_H_

#include <grpcpp/server_context.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/access/access_tokens.h"

namespace denoised {

struct AccessOptions {
  std::string tokens;  // file, see access_tokens.h; empty: whoever reaches the server may do everything
  bool allow_plain_tokens = false;
  std::string client_header;  // metadata that a proxy in front sets to name the client; empty: none is believed
};

class AccessControl {
 public:
  // Null: no token is asked for; the role admin is then that of callers on this machine.
  AccessControl(std::shared_ptr<const TokenFile> tokens, std::string client_header);

  // The client's identity (client_identity.h). UNAUTHENTICATED without a known token, PERMISSION_DENIED if the token's
  // role does not reach; both say what to do.
  absl::StatusOr<std::string> Admit(const grpc::ServerContextBase& context, Role role) const;

  // The same for a call that came another way, with the value of its one `authorization` header: the token's name,
  // empty where no token is asked for.
  absl::StatusOr<std::string> AdmitToken(const std::optional<std::string>& authorization, Role role) const;

 private:
  const std::shared_ptr<const TokenFile> tokens_;
  const std::string client_header_;
};

// INVALID_ARGUMENT if tokens would cross a network in plain text: without TLS, at an address that is not this machine's
// own alone, and not allowed. `flag`: the one that `listen` is the value of; `own`: a value that would do.
absl::Status CheckTokensAreSafe(const AccessOptions& access, const std::string& flag, const std::string& listen,
                                const std::string& own, bool tls);

}  // namespace denoised

#endif  // DENOISED_SERVER_ACCESS_ACCESS_CONTROL_H_
