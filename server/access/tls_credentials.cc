#include "server/access/tls_credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <string>
#include <type_traits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

// NOTE: gRPC 1.51 ends the process without roots, though nobody is verified by them where clients are not asked for a
// certificate.
grpc_ssl_server_certificate_config* MakeConfig(const TlsMaterial& material) {
  const grpc_ssl_pem_key_cert_pair pair{.private_key = material.key.c_str(), .cert_chain = material.cert.c_str()};
  const std::string& roots = material.client_ca.empty() ? material.cert : material.client_ca;
  return grpc_ssl_server_certificate_config_create(roots.c_str(), &pair, 1);
}

// What gRPC asks before each handshake.
class CertificateFetcher {
 public:
  explicit CertificateFetcher(std::shared_ptr<const TlsCertificates> certificates)
      : certificates_(std::move(certificates)) {}

  static grpc_ssl_certificate_config_reload_status Fetch(void* fetcher, grpc_ssl_server_certificate_config** config) {
    return static_cast<CertificateFetcher*>(fetcher)->FetchNewer(config);
  }

  grpc_server_credentials* MakeCredentials() {
    const bool mutual = !certificates_->value()->client_ca.empty();
    return grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            mutual ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                   : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            &Fetch, this));
  }

 private:
  grpc_ssl_certificate_config_reload_status FetchNewer(grpc_ssl_server_certificate_config** config) {
    const absl::MutexLock lock(&mu_);
    std::shared_ptr<const TlsMaterial> newest = certificates_->value();
    if (newest == fetched_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    *config = MakeConfig(*newest);
    fetched_ = std::move(newest);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const std::shared_ptr<const TlsCertificates> certificates_;

  absl::Mutex mu_;
  std::shared_ptr<const TlsMaterial> fetched_ ABSL_GUARDED_BY(mu_);
};

// gRPC's C++ interface has no credentials that ask for their certificates: these wrap those of its C interface. Until
// gRPC 1.54 ServerCredentials is abstract and opens the port itself; from then on it is told what it wraps.
template <typename Base, bool kOpensPort = std::is_abstract_v<Base>>
class WrappedCredentials : public Base {
 public:
  explicit WrappedCredentials(std::unique_ptr<CertificateFetcher> fetcher)
      : fetcher_(std::move(fetcher)), credentials_(fetcher_->MakeCredentials()) {}
  ~WrappedCredentials() override { grpc_server_credentials_release(credentials_); }

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}  // never set here

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  const std::unique_ptr<CertificateFetcher> fetcher_;
  grpc_server_credentials* const credentials_;
};

template <typename Base>
class WrappedCredentials<Base, false> : public Base {
 public:
  explicit WrappedCredentials(std::unique_ptr<CertificateFetcher> fetcher)
      : Base(fetcher->MakeCredentials()), fetcher_(std::move(fetcher)) {}

 private:
  const std::unique_ptr<CertificateFetcher> fetcher_;
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(std::shared_ptr<const TlsCertificates> certificates) {
  if (certificates == nullptr) return grpc::InsecureServerCredentials();
  return std::make_shared<WrappedCredentials<grpc::ServerCredentials>>(
      std::make_unique<CertificateFetcher>(std::move(certificates)));
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const TlsOptions& tls) {
  DENOISED_ASSIGN_OR_RETURN(std::shared_ptr<TlsCertificates> certificates, LoadTlsCertificates(tls));
  return MakeServerCredentials(std::move(certificates));
}

}  // namespace denoised
