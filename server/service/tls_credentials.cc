#include "server/service/tls_credentials.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr uint64_t kMaxPemBytes = 1 << 20;

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using PrivateKey = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

absl::StatusOr<std::string> ReadPem(const char* flag, const std::string& path) {
  absl::StatusOr<std::string> pem = ReadFile(path, kMaxPemBytes);
  if (!pem.ok()) {
    return absl::Status(pem.status().code(), absl::StrCat(flag, ": ", std::string(pem.status().message())));
  }
  if (pem->find("-----BEGIN ") == std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", path, " is not a PEM file"));
  }
  return pem;
}

// OpenSSL would ask for it on the terminal, which a server does not have.
int NoPassphrase(char*, int, int, void*) { return -1; }

// Reads the first object of its kind in `pem`, by one of OpenSSL's PEM_read_bio_...; null when there is none.
template <typename Read>
auto ReadFirst(const std::string& pem, Read read) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())),
                                                      &BIO_free);
  auto* object = read(bio.get(), nullptr, &NoPassphrase, nullptr);
  ERR_clear_error();  // of this thread, which gRPC shares
  return object;
}

absl::StatusOr<Certificate> FirstCertificate(const char* flag, const std::string& path, const std::string& pem) {
  Certificate certificate(ReadFirst(pem, PEM_read_bio_X509), &X509_free);
  if (certificate == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", path, " holds no readable certificate"));
  }
  return certificate;
}

absl::Status CheckPair(const TlsOptions& tls, const std::string& cert_pem, const std::string& key_pem) {
  DENOISED_ASSIGN_OR_RETURN(const Certificate certificate, FirstCertificate("--tls_cert", tls.cert, cert_pem));
  const PrivateKey key(ReadFirst(key_pem, PEM_read_bio_PrivateKey), &EVP_PKEY_free);
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("--tls_key: ", tls.key, " holds no private key that can be read without a passphrase"));
  }
  const bool pair = X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  if (pair) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--tls_key: ", tls.key, " is not the key of the certificate in ",
                                                 tls.cert,
                                                 "; give the two that were made together, and the server's own "
                                                 "certificate first where the file holds a chain"));
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const TlsOptions& tls) {
  if (tls.cert.empty() != tls.key.empty()) {
    return absl::InvalidArgumentError("--tls_cert and --tls_key belong together: give both, or neither for plain text");
  }
  if (tls.cert.empty()) {
    if (!tls.client_ca.empty()) return absl::InvalidArgumentError("--tls_client_ca needs --tls_cert and --tls_key");
    return grpc::InsecureServerCredentials();
  }
  grpc::SslServerCredentialsOptions options;
  DENOISED_ASSIGN_OR_RETURN(std::string cert, ReadPem("--tls_cert", tls.cert));
  DENOISED_ASSIGN_OR_RETURN(std::string key, ReadPem("--tls_key", tls.key));
  DENOISED_RETURN_IF_ERROR(CheckPair(tls, cert, key));
  options.pem_key_cert_pairs.push_back({std::move(key), std::move(cert)});
  if (!tls.client_ca.empty()) {
    DENOISED_ASSIGN_OR_RETURN(options.pem_root_certs, ReadPem("--tls_client_ca", tls.client_ca));
    DENOISED_RETURN_IF_ERROR(FirstCertificate("--tls_client_ca", tls.client_ca, options.pem_root_certs).status());
    options.client_certificate_request = GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
  }
  return grpc::SslServerCredentials(options);
}

}  // namespace denoised
