// File: credential_watch.h
//
// Takes over certificates and tokens once a second as their files change, and logs what it finds: new ones, broken ones
// (the old stay in use), a certificate that is about to expire or has expired.
//
//   absl::StatusOr<Credentials> credentials = LoadCredentials(options.tls, options.access, options.listen);
//   const CredentialWatch watch(*credentials, [&](const TlsMaterial& now_in_use) { ... });
//
// Thread-safe.
#ifndef DENOISED_SERVER_ACCESS_CREDENTIAL_WATCH_H_
#define DENOISED_SERVER_ACCESS_CREDENTIAL_WATCH_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/support/periodic_task.h"
#include "server/access/access_control.h"
#include "server/access/access_tokens.h"
#include "server/access/tls_certificates.h"

namespace denoised {

// What the server proves itself by and knows others by; null where there is none.
struct Credentials {
  std::shared_ptr<TlsCertificates> certificates;
  std::shared_ptr<TokenFile> tokens;
};

// Errors of LoadTlsCertificates and LoadAccessTokens, and of CheckTokensAreSafe.
absl::StatusOr<Credentials> LoadCredentials(const TlsOptions& tls, const AccessOptions& access,
                                            const std::string& listen);

class CredentialWatch {
 public:
  using CertificateHandler = std::function<void(const TlsMaterial&)>;

  // `on_certificate` hears of the certificate now and of each later one.
  CredentialWatch(Credentials credentials, CertificateHandler on_certificate);

  // What is done each second.
  void Look(std::chrono::system_clock::time_point now) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void LookAtCertificates() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LookAtTokens() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TellExpiry(std::chrono::system_clock::time_point now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Constant after construction.
  const Credentials credentials_;
  const CertificateHandler on_certificate_;

  absl::Mutex mu_;
  Expiry told_ ABSL_GUARDED_BY(mu_) = Expiry::kFar;  // of the certificate in use
  std::optional<PeriodicTask> task_;                 // NOTE: last, it uses the others
};

}  // namespace denoised

#endif  // DENOISED_SERVER_ACCESS_CREDENTIAL_WATCH_H_
