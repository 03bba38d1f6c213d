#include "server/access/https_contexts.h"

#include <openssl/err.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/support/pem_files.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr char kCiphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20";  // of TLS 1.2; those of 1.3 are all of this kind
constexpr unsigned char kProtocol[] = "\x08http/1.1";       // as ALPN writes it, with its length in front
constexpr unsigned kProtocolBytes = sizeof kProtocol - 1;

// A client that offers protocols, but not this one, is refused.
int ChooseProtocol(SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char* offered,
                   unsigned offered_bytes, void*) {
  const int found = SSL_select_next_proto(const_cast<unsigned char**>(chosen), size, kProtocol, kProtocolBytes, offered,
                                          offered_bytes);
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

bool UseCertificate(SSL_CTX* context, const std::vector<Certificate>& chain, const std::string& key_pem) {
  const PrivateKey key = ReadPrivateKey(key_pem);
  bool used = SSL_CTX_use_certificate(context, chain.front().get()) == 1 &&
              SSL_CTX_use_PrivateKey(context, key.get()) == 1 && SSL_CTX_check_private_key(context) == 1;
  for (size_t i = 1; i < chain.size(); ++i) used = used && SSL_CTX_add1_chain_cert(context, chain[i].get()) == 1;
  return used;
}

bool AskForClients(SSL_CTX* context, const std::vector<Certificate>& authorities) {
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  X509_STORE* const store = SSL_CTX_get_cert_store(context);
  bool added = true;
  for (const Certificate& authority : authorities) {
    added = added && X509_STORE_add_cert(store, authority.get()) == 1 &&
            SSL_CTX_add_client_CA(context, authority.get()) == 1;
  }
  return added;
}

bool Configure(SSL_CTX* context) {
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_alpn_select_cb(context, &ChooseProtocol, nullptr);
  return SSL_CTX_set_num_tickets(context, 0) == 1 && SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
         SSL_CTX_set_cipher_list(context, kCiphers) == 1;
}

// With OpenSSL's reason, which is taken off its list.
absl::Status NotTaken(const char* what) {
  const char* reason = ERR_reason_error_string(ERR_peek_error());
  const std::string words = reason == nullptr ? "no reason is given" : reason;
  ERR_clear_error();
  return absl::InvalidArgumentError(absl::StrCat(what, ": OpenSSL does not take what is in the file: ", words));
}

}  // namespace

absl::StatusOr<std::shared_ptr<SSL_CTX>> MakeHttpsContext(const TlsMaterial& material) {
  ERR_clear_error();
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
  if (context == nullptr || !Configure(context.get())) return absl::InternalError("OpenSSL makes no context for TLS");
  DENOISED_ASSIGN_OR_RETURN(const std::vector<Certificate> chain, ReadCertificates("--tls_cert", "it", material.cert));
  if (!UseCertificate(context.get(), chain, material.key)) return NotTaken("--tls_cert and --tls_key");
  if (material.client_ca.empty()) return context;
  DENOISED_ASSIGN_OR_RETURN(const std::vector<Certificate> authorities,
                            ReadCertificates("--tls_client_ca", "it", material.client_ca));
  if (!AskForClients(context.get(), authorities)) return NotTaken("--tls_client_ca");
  return context;
}

HttpsContexts::HttpsContexts(std::shared_ptr<const TlsCertificates> certificates)
    : certificates_(std::move(certificates)),
      material_(certificates_->value()),
      context_(*MakeHttpsContext(*material_)) {}

std::shared_ptr<SSL_CTX> HttpsContexts::newest() {
  const absl::MutexLock lock(&mu_);
  std::shared_ptr<const TlsMaterial> newest = certificates_->value();
  if (newest == material_) return context_;
  absl::StatusOr<std::shared_ptr<SSL_CTX>> made = MakeHttpsContext(*newest);
  if (!made.ok()) return context_;  // memory is short: the next handshake tries again
  material_ = std::move(newest);
  context_ = *std::move(made);
  return context_;
}

}  // namespace denoised
