#include "client/calls/connection_diagnosis.h"

#include <netdb.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace denoised {
namespace {

constexpr time_t kPatienceSeconds = 3;

using Context = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;
using Session = std::unique_ptr<SSL, decltype(&SSL_free)>;
using Memory = std::unique_ptr<BIO, decltype(&BIO_free)>;

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {
    const timeval patience{.tv_sec = kPatienceSeconds, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);  // of connect, too
  }
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

Diagnosis Unreachable(const std::string& server, int error) {
  const bool nobody = error == ECONNREFUSED || error == ENOENT;
  return {
      nobody ? Obstacle::kNobodyListens : Obstacle::kNoAnswer,
      absl::StrCat("cannot reach a server at ", server, "; start one with `denoised`, or name another with --server (",
                   error == EINPROGRESS || error == EAGAIN ? "no answer" : std::strerror(error), ")")};
}

// A connection, or why there is none.
std::unique_ptr<Socket> Connect(const ServerAddress& server, Diagnosis& diagnosis) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int unknown = getaddrinfo(server.host.c_str(), std::to_string(server.port).c_str(), &hints, &found);
  if (unknown != 0) {
    diagnosis = {Obstacle::kNoSuchHost, absl::StrCat("--server: cannot find the host ", server.host, " (",
                                                     gai_strerror(unknown), "); is its name right?")};
    return nullptr;
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  int error = ECONNREFUSED;
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    auto connection =
        std::make_unique<Socket>(socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC, info->ai_protocol));
    if (connect(connection->get(), info->ai_addr, info->ai_addrlen) == 0) return connection;
    error = errno;
  }
  diagnosis = Unreachable(server.target, error);
  return nullptr;
}

Diagnosis DiagnoseUnixSocket(const std::string& target) {
  const std::string path = std::string(absl::StripPrefix(absl::StripPrefix(target, "unix:"), "//"));
  sockaddr_un name{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.size() >= sizeof name.sun_path) return {};
  std::copy(path.begin(), path.end(), name.sun_path);
  const Socket connection(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(connection.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0) return {};
  return Unreachable(target, errno);
}

Memory InMemory(const std::string& pem) {
  return {BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &BIO_free};
}

void Trust(SSL_CTX* context, const std::string& ca) {
  if (ca.empty()) {
    SSL_CTX_set_default_verify_paths(context);
    return;
  }
  const Memory memory = InMemory(ca);
  while (X509* certificate = PEM_read_bio_X509(memory.get(), nullptr, nullptr, nullptr)) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate);
    X509_free(certificate);
  }
}

void ShowOwnCertificate(SSL_CTX* context, const TlsFiles& tls) {
  if (tls.cert.empty()) return;
  const Memory cert = InMemory(tls.cert), key = InMemory(tls.key);
  const std::unique_ptr<X509, decltype(&X509_free)> own(PEM_read_bio_X509(cert.get(), nullptr, nullptr, nullptr),
                                                        &X509_free);
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> own_key(
      PEM_read_bio_PrivateKey(key.get(), nullptr, nullptr, nullptr), &EVP_PKEY_free);
  if (own == nullptr || own_key == nullptr) return;
  SSL_CTX_use_certificate(context, own.get());
  SSL_CTX_use_PrivateKey(context, own_key.get());
}

// One handshake, as gRPC's but that nothing ends it early.
class Handshake {
 public:
  Handshake(const ServerAddress& server, const TlsFiles& tls, int connection)
      : server_(server), context_(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free), session_(nullptr, &SSL_free) {
    Trust(context_.get(), tls.ca);
    ShowOwnCertificate(context_.get(), tls);
    session_.reset(SSL_new(context_.get()));
    static constexpr unsigned char kHttp2[] = {2, 'h', '2'};
    SSL_set_alpn_protos(session_.get(), kHttp2, sizeof kHttp2);
    SSL_set_tlsext_host_name(session_.get(), server.host.c_str());
    SSL_set_fd(session_.get(), connection);
    connected_ = SSL_connect(session_.get()) == 1;
    reason_ = ERR_GET_REASON(ERR_peek_error());
    // NOTE: a client has shaken hands before the server has looked at its certificate: what comes first tells.
    if (connected_) heard_ = SSL_peek(session_.get(), &first_, 1) == 1;
    alert_ = ERR_peek_error();
    ERR_clear_error();
  }

  bool speaks_tls() const { return connected_; }
  bool speaks_plain_text() const {
    return !connected_ && (reason_ == SSL_R_WRONG_VERSION_NUMBER || reason_ == SSL_R_PACKET_LENGTH_TOO_LONG);
  }
  // Whether the server said anything after it.
  bool heard() const { return heard_; }

  // Why the server's certificate is not trusted, if it is not.
  std::optional<std::string> Distrust() const {
    const std::unique_ptr<X509, decltype(&X509_free)> certificate(SSL_get1_peer_certificate(session_.get()),
                                                                  &X509_free);
    const auto verdict = SSL_get_verify_result(session_.get());
    if (verdict != X509_V_OK) return std::string(X509_verify_cert_error_string(verdict));
    const bool named = certificate != nullptr && (X509_check_host(certificate.get(), server_.host.c_str(),
                                                                  server_.host.size(), 0, nullptr) == 1 ||
                                                  X509_check_ip_asc(certificate.get(), server_.host.c_str(), 0) == 1);
    if (named) return std::nullopt;
    return absl::StrCat("it is not made out to ", server_.host);
  }

  std::string AlertText() const {
    const char* reason = alert_ == 0 ? nullptr : ERR_reason_error_string(alert_);
    return reason == nullptr ? "it closes the connection" : reason;
  }

 private:
  const ServerAddress& server_;
  Context context_;
  Session session_;
  bool connected_ = false, heard_ = false;
  char first_ = 0;
  int reason_ = 0;
  decltype(ERR_peek_error()) alert_ = 0;
};

Diagnosis TlsObstacle(const std::string& text) { return {Obstacle::kTls, text}; }

Diagnosis DiagnoseTls(const ServerAddress& server, const TlsFiles& tls, int connection) {
  const Handshake handshake(server, tls, connection);
  if (!tls.enabled) {
    if (!handshake.speaks_tls()) return {};
    return TlsObstacle(absl::StrCat("the server at ", server.target,
                                    " speaks TLS: add --tls, or --tls_ca with the certificates to trust"));
  }
  if (handshake.speaks_plain_text()) {
    return TlsObstacle(absl::StrCat("the server at ", server.target,
                                    " speaks no TLS: leave out --tls and the --tls_ files, or ask it to"));
  }
  if (!handshake.speaks_tls()) {
    return TlsObstacle(absl::StrCat("no TLS with the server at ", server.target, ": ", handshake.AlertText()));
  }
  if (const std::optional<std::string> why = handshake.Distrust()) {
    return TlsObstacle(absl::StrCat("the certificate of the server at ", server.target, " is not trusted: ", *why,
                                    "; name the certificates to trust with --tls_ca, and the server as its "
                                    "certificate does"));
  }
  if (handshake.heard()) return {};
  if (tls.cert.empty()) {
    return TlsObstacle(absl::StrCat("the server at ", server.target,
                                    " wants a certificate of this client: add --tls_cert and --tls_key (",
                                    handshake.AlertText(), ")"));
  }
  return TlsObstacle(absl::StrCat("--tls_cert: the server at ", server.target,
                                  " does not accept this certificate; take one that its authority signed (",
                                  handshake.AlertText(), ")"));
}

}  // namespace

Diagnosis Diagnose(const ServerAddress& server, const TlsFiles& tls) {
  if (server.target.starts_with("unix:")) return DiagnoseUnixSocket(server.target);
  if (server.host.empty()) return {};
  Diagnosis diagnosis;
  const std::unique_ptr<Socket> connection = Connect(server, diagnosis);
  return connection == nullptr ? diagnosis : DiagnoseTls(server, tls, connection->get());
}

}  // namespace denoised
