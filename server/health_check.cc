#include "server/health_check.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/transport/listen_address.h"

namespace denoised {
namespace {

constexpr uint64_t kMaxPemBytes = 1 << 20;

// As gRPC's clients write it.
absl::StatusOr<std::string> Target(const std::string& listen) {
  DENOISED_ASSIGN_OR_RETURN(const ListenAddress address, ListenAddress::Parse("--listen", listen));
  if (!address.unix_path.empty()) return listen;
  if (address.port == 0) return absl::InvalidArgumentError("--healthcheck needs a --listen with a port of its own");
  if (address.wildcard()) return absl::StrCat("127.0.0.1:", address.port);
  return listen;
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ClientCredentials(const TlsOptions& tls) {
  if (tls.cert.empty()) return grpc::InsecureChannelCredentials();
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_verify_server_certs(false);
  options.set_check_call_host(false);
  if (!tls.client_ca.empty()) {
    DENOISED_ASSIGN_OR_RETURN(const std::string cert, ReadFile(tls.cert, kMaxPemBytes));
    DENOISED_ASSIGN_OR_RETURN(const std::string key, ReadFile(tls.key, kMaxPemBytes));
    options.set_certificate_provider(std::make_shared<grpc::experimental::StaticDataCertificateProvider>(
        std::vector<grpc::experimental::IdentityKeyCertPair>{{key, cert}}));
    options.watch_identity_key_cert_pairs();
  }
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace

absl::Status CheckHealth(const ServerOptions& options, double timeout_seconds) {
  DENOISED_ASSIGN_OR_RETURN(const std::string target, Target(options.listen));
  DENOISED_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                            ClientCredentials(options.tls));
  const auto health = grpc::health::v1::Health::NewStub(grpc::CreateChannel(target, credentials));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(static_cast<int64_t>(timeout_seconds * 1000)));
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status = health->Check(&context, {}, &response);
  if (!status.ok()) {
    return absl::UnavailableError(absl::StrCat("the server at ", target, " does not answer: ", status.error_message()));
  }
  if (response.status() == grpc::health::v1::HealthCheckResponse::SERVING) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the server at ", target, " does not serve: it starts or drains"));
}

}  // namespace denoised
