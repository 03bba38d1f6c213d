// File: tls_credentials.h
//
// gRPC's server credentials, which follow certificates as they are replaced.
//
//   absl::StatusOr<std::shared_ptr<TlsCertificates>> certificates = LoadTlsCertificates(tls);
//   const std::shared_ptr<grpc::ServerCredentials> credentials = MakeServerCredentials(*certificates);
//   builder.AddListeningPort("0.0.0.0:50051", credentials);
//   ... now and then: (*certificates)->Refresh();
//
// The credentials must outlive the grpc::Server, which does not hold on to them.
//
// Each handshake takes the newest certificates; connections that exist keep what they began with. Certificate and key
// always come from one reading of both files.
//
// Thread-safe.
#ifndef DENOISED_SERVER_ACCESS_TLS_CREDENTIALS_H_
#define DENOISED_SERVER_ACCESS_TLS_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "absl/status/statusor.h"
#include "server/access/tls_certificates.h"

namespace denoised {

// Plain text for null. Where there is a client_ca, clients must show a certificate that it has signed; whether there is
// one is decided here, not anew by each handshake.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(std::shared_ptr<const TlsCertificates> certificates);

// The same for files that stay as they are. Errors of LoadTlsCertificates.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const TlsOptions& tls);

}  // namespace denoised

#endif  // DENOISED_SERVER_ACCESS_TLS_CREDENTIALS_H_
