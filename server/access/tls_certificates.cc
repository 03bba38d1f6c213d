#include "server/access/tls_certificates.h"

#include <openssl/bio.h>
#include <openssl/x509.h>

#include <algorithm>
#include <ctime>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/support/pem_files.h"
#include "common/support/status_macros.h"
#include "server/access/https_contexts.h"

namespace denoised {
namespace {

using SystemTime = std::chrono::system_clock::time_point;
using Memory = std::unique_ptr<BIO, decltype(&BIO_free)>;

constexpr std::chrono::hours kWeek(7 * 24);

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
  DENOISED_RETURN_IF_ERROR(CheckKeyPair(chain.front().get(), material.key, tls.cert, tls.key));
  material.subject = SubjectOf(own);
  material.not_before = ToSystemTime(X509_get0_notBefore(own));
  material.not_after = ToSystemTime(X509_get0_notAfter(own));
  if (!tls.client_ca.empty()) {
    DENOISED_ASSIGN_OR_RETURN(material.client_ca, ReadPem("--tls_client_ca", tls.client_ca));
    DENOISED_RETURN_IF_ERROR(ReadCertificates("--tls_client_ca", tls.client_ca, material.client_ca).status());
  }
  DENOISED_RETURN_IF_ERROR(MakeHttpsContext(material).status());
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
