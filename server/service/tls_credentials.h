// File: tls_credentials.h
//
// From PEM files to gRPC's server credentials.
//
//   absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials =
//       MakeServerCredentials({.cert = "server.pem", .key = "server.key", .client_ca = "ca.pem"});
//   builder.AddListeningPort("0.0.0.0:50051", *credentials);
//
// What gRPC would say of unusable files is one line in its log and a port that does not open, so they are checked here.
#ifndef DENOISED_SERVER_SERVICE_TLS_CREDENTIALS_H_
#define DENOISED_SERVER_SERVICE_TLS_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace denoised {

struct TlsOptions {
  std::string cert;  // files, PEM; empty: no TLS
  std::string key;
  std::string client_ca;  // empty: clients need no certificate
};

// Plain text without a certificate; with a client_ca, clients must show a certificate that it has signed.
// INVALID_ARGUMENT for files that are incomplete, unreadable as PEM or do not belong together; NOT_FOUND for missing
// ones.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const TlsOptions& tls);

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVICE_TLS_CREDENTIALS_H_
