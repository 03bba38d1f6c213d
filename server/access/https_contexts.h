// File: https_contexts.h
//
// OpenSSL's contexts for a server of HTTP/1.1, of the same certificates that gRPC's credentials are made of, and as
// they are replaced.
//
//   HttpsContexts contexts(certificates);
//   ... for each handshake: SSL_new(contexts.newest().get())
//   ... now and then: certificates->Refresh();
//
// TLS 1.2 at least, with ciphers that keep no secret for whoever gets the key later. Where there is a client_ca,
// clients must show a certificate that it has signed. No session is taken up again and nothing is renegotiated: each
// handshake is whole, by the certificates and authorities of now.
//
// Thread-safe.
#ifndef DENOISED_SERVER_ACCESS_HTTPS_CONTEXTS_H_
#define DENOISED_SERVER_ACCESS_HTTPS_CONTEXTS_H_

#include <openssl/ssl.h>

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/access/tls_certificates.h"

namespace denoised {

// INVALID_ARGUMENT where OpenSSL does not take what is in the files, such as a key that is too short to be safe.
absl::StatusOr<std::shared_ptr<SSL_CTX>> MakeHttpsContext(const TlsMaterial& material);

class HttpsContexts {
 public:
  // `certificates`: as LoadTlsCertificates gives them, which has tried to make a context of each.
  explicit HttpsContexts(std::shared_ptr<const TlsCertificates> certificates);

  // Never null.
  std::shared_ptr<SSL_CTX> newest() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  const std::shared_ptr<const TlsCertificates> certificates_;

  absl::Mutex mu_;
  std::shared_ptr<const TlsMaterial> material_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<SSL_CTX> context_ ABSL_GUARDED_BY(mu_);  // of it
};

}  // namespace denoised

#endif  // DENOISED_SERVER_ACCESS_HTTPS_CONTEXTS_H_
