// File: http_tls.h
//
// What an HTTP server has to know to speak TLS; whose certificates those are is for others to know.
//
//   HttpTls{.context = [&] { return contexts.newest(); }, .client_name = NameInCertificate, .on_failure = log}
//
// Everything is called on the server's I/O thread.
#ifndef DENOISED_SERVER_HTTP_HTTP_TLS_H_
#define DENOISED_SERVER_HTTP_HTTP_TLS_H_

#include <openssl/ssl.h>

#include <functional>
#include <memory>
#include <string>

namespace denoised {

struct HttpTls {
  // Of the next handshake; never null. It says which versions, certificates and clients will do.
  std::function<std::shared_ptr<SSL_CTX>()> context;
  // Of a client whose certificate has been verified.
  std::function<std::string(const X509* certificate)> client_name;
  // May be null. A client that said something, but no handshake came of it: from where, "192.0.2.7:40000", and why.
  std::function<void(const std::string& peer, const std::string& why)> on_failure = nullptr;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_HTTP_HTTP_TLS_H_
