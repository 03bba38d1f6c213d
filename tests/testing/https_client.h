// File: https_client.h
//
// A client of HTTP by TLS that does what it is told, and says how its handshake went.
//
//   HttpsConnection client(port, {.ca = authority.pem(), .identity = authority.Issue("alice")});
//   EXPECT_EQ(client.error(), "");
//   client.Send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
//   EXPECT_EQ(client.Receive().status, 200);
#ifndef DENOISED_TESTS_TESTING_HTTPS_CLIENT_H_
#define DENOISED_TESTS_TESTING_HTTPS_CLIENT_H_

#include <netinet/tcp.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <signal.h>
#include <sys/time.h>

#include <memory>
#include <string>
#include <utility>

#include "tests/testing/http_client.h"
#include "tests/testing/test_certificates.h"

namespace denoised {

struct HttpsClientOptions {
  std::string ca = {};         // PEM; empty: any server is believed
  TestIdentity identity = {};  // to be shown to the server, if it has one
  std::string alpn = "http/1.1";
  int version = 0;                 // the only one that is spoken, such as TLS1_2_VERSION; 0: any
  int receive_bytes = 0;           // of the socket's buffer; 0 is the usual
  SSL_SESSION* session = nullptr;  // to be taken up again
};

namespace https_client {

using Context = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;
using Memory = std::unique_ptr<BIO, decltype(&BIO_free)>;

inline Memory InMemory(const std::string& pem) {
  return {BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &BIO_free};
}

inline Context MakeContext(const HttpsClientOptions& options) {
  Context context(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free);
  SSL_CTX_set_cipher_list(context.get(), "ALL:@SECLEVEL=0");  // old versions of TLS take such ones
  if (options.version != 0) {
    SSL_CTX_set_min_proto_version(context.get(), options.version);
    SSL_CTX_set_max_proto_version(context.get(), options.version);
  }
  if (!options.ca.empty()) {
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    X509* ca = PEM_read_bio_X509(InMemory(options.ca).get(), nullptr, nullptr, nullptr);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), ca);
    X509_free(ca);
  }
  if (!options.identity.cert.empty()) {
    X509* cert = PEM_read_bio_X509(InMemory(options.identity.cert).get(), nullptr, nullptr, nullptr);
    EVP_PKEY* key = PEM_read_bio_PrivateKey(InMemory(options.identity.key).get(), nullptr, nullptr, nullptr);
    SSL_CTX_use_certificate(context.get(), cert);
    SSL_CTX_use_PrivateKey(context.get(), key);
    X509_free(cert);
    EVP_PKEY_free(key);
  }
  return context;
}

inline std::string AlpnList(const std::string& protocol) { return static_cast<char>(protocol.size()) + protocol; }

}  // namespace https_client

class HttpsConnection {
 public:
  explicit HttpsConnection(int port, const HttpsClientOptions& options = {})
      : socket_(port, "127.0.0.1", options.receive_bytes),
        context_(https_client::MakeContext(options)),
        ssl_(SSL_new(context_.get()), &SSL_free) {
    signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to sockets that are closed
    const timeval patience = {.tv_sec = 20, .tv_usec = 0};
    setsockopt(socket_.descriptor(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const int at_once = 1;  // what is said in pieces, too
    setsockopt(socket_.descriptor(), IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
    SSL_set_fd(ssl_.get(), socket_.descriptor());
    const std::string alpn = https_client::AlpnList(options.alpn);
    SSL_set_alpn_protos(ssl_.get(), reinterpret_cast<const unsigned char*>(alpn.data()),
                        static_cast<unsigned>(alpn.size()));
    if (options.session != nullptr) SSL_set_session(ssl_.get(), options.session);
    ERR_clear_error();
    if (SSL_connect(ssl_.get()) != 1) KeepError();
  }
  HttpsConnection(HttpsConnection&&) = default;

  // OpenSSL's word for what went wrong in the handshake, or since: TLS 1.3 tells clients so late that theirs was for
  // nothing. Empty: nothing did.
  const std::string& error() const { return error_; }
  SSL* ssl() const { return ssl_.get(); }
  HttpConnection& socket() { return socket_; }

  bool Send(absl::string_view bytes) {
    ERR_clear_error();
    if (SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())) > 0) return true;
    KeepError();
    return false;
  }

  // All that comes until the server says that there is no more (`said_goodbye`), or closes, or has an error.
  std::string ReceiveAll() {
    std::string text;
    char bytes[4096];
    int size = 0;
    ERR_clear_error();
    while ((size = SSL_read(ssl_.get(), bytes, sizeof bytes)) > 0) text.append(bytes, static_cast<size_t>(size));
    said_goodbye_ = SSL_get_error(ssl_.get(), size) == SSL_ERROR_ZERO_RETURN;
    if (!said_goodbye_) KeepError();
    return text;
  }
  HttpAnswer Receive() { return ParseHttpAnswer(ReceiveAll()); }

  bool said_goodbye() const { return said_goodbye_; }

 private:
  void KeepError() {
    const char* reason = ERR_reason_error_string(ERR_peek_last_error());
    error_ = reason == nullptr ? "closed" : reason;
  }

  HttpConnection socket_;
  https_client::Context context_;
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
  std::string error_;
  bool said_goodbye_ = false;
};

inline HttpAnswer HttpsGet(int port, const std::string& path, const HttpsClientOptions& options = {},
                           const std::string& headers = "") {
  HttpsConnection client(port, options);
  client.Send(absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\n", headers, "\r\n"));
  return client.Receive();
}

// The first bytes of a handshake, as a client sends them.
inline std::string ClientHello() {
  const https_client::Context context = https_client::MakeContext({});
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), &SSL_free);
  BIO* const sent = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), sent);
  SSL_connect(ssl.get());
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(sent, &bytes);
  return {bytes, static_cast<size_t>(size)};
}

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_HTTPS_CLIENT_H_
