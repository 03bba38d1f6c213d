#include "server/access/tls_certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <ctime>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

using SystemTime = std::chrono::system_clock::time_point;
using Memory = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using PrivateKey = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

constexpr uint64_t kMaxPemBytes = 1 << 20;
constexpr std::chrono::hours kWeek(7 * 24);

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

Memory InMemory(const std::string& pem) {
  return {BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &BIO_free};
}

size_t CountOf(const std::string& part, const std::string& text) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

// All certificates of a file. One that cannot be read is an error even behind others that can: the file may be half
// written.
absl::StatusOr<std::vector<Certificate>> ReadCertificates(const char* flag, const std::string& path,
                                                          const std::string& pem) {
  const Memory memory = InMemory(pem);
  std::vector<Certificate> certificates;
  while (X509* certificate = PEM_read_bio_X509(memory.get(), nullptr, &NoPassphrase, nullptr)) {
    certificates.emplace_back(certificate, &X509_free);
  }
  ERR_clear_error();  // of this thread, which gRPC shares
  if (certificates.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", path, " holds no readable certificate"));
  }
  if (certificates.size() < CountOf("-----BEGIN CERTIFICATE-----", pem)) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", path, " holds a certificate that cannot be read, its ",
                                                   certificates.size() + 1, ". one; is it complete?"));
  }
  return certificates;
}

absl::Status CheckPair(const TlsOptions& tls, X509* certificate, const std::string& key_pem) {
  const PrivateKey key(PEM_read_bio_PrivateKey(InMemory(key_pem).get(), nullptr, &NoPassphrase, nullptr),
                       &EVP_PKEY_free);
  const bool pair = key != nullptr && X509_check_private_key(certificate, key.get()) == 1;
  ERR_clear_error();
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("--tls_key: ", tls.key, " holds no private key that can be read without a passphrase"));
  }
  if (pair) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--tls_key: ", tls.key, " is not the key of the certificate in ",
                                                 tls.cert,
                                                 "; give the two that were made together, and the server's own "
                                                 "certificate first where the file holds a chain"));
}

SystemTime ToSystemTime(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return std::chrono::system_clock::from_time_t(timegm(&parts));
}

std::string SubjectOf(const X509* certificate) {
  const Memory memory(BIO_new(BIO_s_mem()), &BIO_free);
  X509_NAME_print_ex(memory.get(), X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
  char* bytes = nullptr;
  const auto size = BIO_get_mem_data(memory.get(), &bytes);
  return {bytes, static_cast<size_t>(size)};
}

}  // namespace

absl::StatusOr<TlsMaterial> LoadTlsMaterial(const TlsOptions& tls) {
  TlsMaterial material;
  DENOISED_ASSIGN_OR_RETURN(material.cert, ReadPem("--tls_cert", tls.cert));
  DENOISED_ASSIGN_OR_RETURN(material.key, ReadPem("--tls_key", tls.key));
  DENOISED_ASSIGN_OR_RETURN(const std::vector<Certificate> chain,
                            ReadCertificates("--tls_cert", tls.cert, material.cert));
  const X509* own = chain.front().get();
  DENOISED_RETURN_IF_ERROR(CheckPair(tls, chain.front().get(), material.key));
  material.subject = SubjectOf(own);
  material.not_before = ToSystemTime(X509_get0_notBefore(own));
  material.not_after = ToSystemTime(X509_get0_notAfter(own));
  if (tls.client_ca.empty()) return material;
  DENOISED_ASSIGN_OR_RETURN(material.client_ca, ReadPem("--tls_client_ca", tls.client_ca));
  DENOISED_RETURN_IF_ERROR(ReadCertificates("--tls_client_ca", tls.client_ca, material.client_ca).status());
  return material;
}

absl::StatusOr<std::shared_ptr<TlsCertificates>> LoadTlsCertificates(const TlsOptions& tls) {
  if (tls.cert.empty() != tls.key.empty()) {
    return absl::InvalidArgumentError("--tls_cert and --tls_key belong together: give both, or neither for plain text");
  }
  if (!tls.cert.empty()) return TlsCertificates::Load([tls] { return LoadTlsMaterial(tls); });
  if (!tls.client_ca.empty()) return absl::InvalidArgumentError("--tls_client_ca needs --tls_cert and --tls_key");
  return nullptr;
}

Expiry ExpiryAt(const TlsMaterial& material, SystemTime now) {
  const auto left = material.not_after - now;
  if (left <= SystemTime::duration::zero()) return Expiry::kPassed;
  const auto life = material.not_after - material.not_before;
  return left < std::min<SystemTime::duration>(life / 5, kWeek) ? Expiry::kSoon : Expiry::kFar;
}

}  // namespace denoised
