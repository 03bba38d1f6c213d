#include "server/access/credential_watch.h"

#include <spdlog/spdlog.h>

#include <string>
#include <utility>

#include "absl/time/time.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

using std::chrono::system_clock;

constexpr std::chrono::seconds kPeriod(1);

std::string DateOf(system_clock::time_point time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", absl::FromChrono(time), absl::UTCTimeZone());
}

}  // namespace

absl::StatusOr<Credentials> LoadCredentials(const TlsOptions& tls, const AccessOptions& access,
                                            const std::string& listen) {
  Credentials credentials;
  DENOISED_ASSIGN_OR_RETURN(credentials.certificates, LoadTlsCertificates(tls));
  if (access.tokens.empty()) return credentials;
  DENOISED_RETURN_IF_ERROR(
      CheckTokensAreSafe(access, "--listen", listen, "127.0.0.1:50051", credentials.certificates != nullptr));
  DENOISED_ASSIGN_OR_RETURN(credentials.tokens,
                            TokenFile::Load([path = access.tokens] { return LoadAccessTokens(path); }));
  return credentials;
}

CredentialWatch::CredentialWatch(Credentials credentials, CertificateHandler on_certificate)
    : credentials_(std::move(credentials)), on_certificate_(std::move(on_certificate)) {
  if (credentials_.certificates == nullptr && credentials_.tokens == nullptr) return;
  if (credentials_.certificates != nullptr) on_certificate_(*credentials_.certificates->value());
  {
    const absl::MutexLock lock(&mu_);
    TellExpiry(system_clock::now());
  }
  task_.emplace(kPeriod, [this] { Look(system_clock::now()); });
}

void CredentialWatch::Look(system_clock::time_point now) {
  const absl::MutexLock lock(&mu_);
  LookAtCertificates();
  LookAtTokens();
  TellExpiry(now);
}

void CredentialWatch::LookAtCertificates() {
  if (credentials_.certificates == nullptr) return;
  const absl::StatusOr<bool> changed = credentials_.certificates->Refresh();
  if (!changed.ok()) {
    spdlog::error("the old certificate stays in use: {}", std::string(changed.status().message()));
    return;
  }
  if (!*changed) return;
  const std::shared_ptr<const TlsMaterial> material = credentials_.certificates->value();
  spdlog::info("new connections get the new certificate of {}, valid until {}", material->subject,
               DateOf(material->not_after));
  told_ = Expiry::kFar;
  on_certificate_(*material);
}

void CredentialWatch::LookAtTokens() {
  if (credentials_.tokens == nullptr) return;
  const absl::StatusOr<bool> changed = credentials_.tokens->Refresh();
  if (!changed.ok()) {
    spdlog::error("the old tokens stay in use: {}", std::string(changed.status().message()));
  } else if (*changed) {
    spdlog::info("tokens: {} from now on", credentials_.tokens->value()->size());
  }
}

void CredentialWatch::TellExpiry(system_clock::time_point now) {
  if (credentials_.certificates == nullptr) return;
  const std::shared_ptr<const TlsMaterial> material = credentials_.certificates->value();
  const Expiry expiry = ExpiryAt(*material, now);
  if (expiry == std::exchange(told_, expiry)) return;
  if (expiry == Expiry::kSoon) {
    spdlog::warn(
        "the certificate of {} is valid until {} only: put a new one into its place, it is read without a restart",
        material->subject, DateOf(material->not_after));
  } else if (expiry == Expiry::kPassed) {
    spdlog::error("the certificate of {} has expired on {}: clients refuse it until there is a new one in its place",
                  material->subject, DateOf(material->not_after));
  }
}

}  // namespace denoised
