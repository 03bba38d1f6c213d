#include "server/http/http_stream.h"

#include <openssl/err.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace denoised {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

}  // namespace

// ---- The handshake ----

// NOTE: nothing is made for a client that has not said a word: a stream of TLS takes some 100 kB.
void HttpStream::Handshake(const HttpTls& tls, std::function<void()> began, HandshakeDone done) {
  socket_.async_wait(Socket::wait_read,
                     [this, &tls, began = std::move(began), done = std::move(done)](const error_code& error) mutable {
                       if (error) return done(Handshaken::kNotAWord, "");
                       std::array<char, 1> first{};
                       error_code peeked;
                       socket_.non_blocking(true, peeked);
                       socket_.receive(asio::buffer(first), Socket::message_peek, peeked);
                       if (peeked == asio::error::would_block) return Handshake(tls, std::move(began), std::move(done));
                       if (peeked) return done(Handshaken::kNotAWord, "");
                       // A method's name. TLS begins with a 22.
                       if (absl::ascii_isupper(static_cast<unsigned char>(first[0]))) {
                         return done(Handshaken::kPlainHttp, "plain HTTP was spoken to a port that speaks TLS");
                       }
                       began();
                       Secure(tls, std::move(done));
                     });
}

void HttpStream::Secure(const HttpTls& tls, HandshakeDone done) {
  const std::shared_ptr<SSL_CTX> newest = tls.context();
  SSL_CTX_up_ref(newest.get());
  asio::ssl::context context(newest.get());  // which lets go of it again
  tls_.emplace(socket_, context);
  tls_->async_handshake(asio::ssl::stream_base::server, [this, done = std::move(done)](const error_code& error) {
    secure_ = !error;
    if (error) return done(Handshaken::kFailed, WordsFor(error));
    done(Handshaken::kSecure, "");
  });
}

std::string HttpStream::WordsFor(const error_code& error) {
  if (error == asio::error::eof || error == asio::error::connection_reset ||
      error == asio::ssl::error::stream_truncated) {
    return "the client closed the connection in the middle of it";
  }
  if (const auto verified = SSL_get_verify_result(tls_->native_handle()); verified != X509_V_OK) {
    return absl::StrCat("certificate verify failed: ", X509_verify_cert_error_string(verified));
  }
  const char* words = ERR_reason_error_string(static_cast<unsigned>(error.value()));
  return error.category() == asio::error::get_ssl_category() && words != nullptr ? words : error.message();
}

std::string HttpStream::ClientName(const HttpTls& tls) {
  const X509* certificate = SSL_get0_peer_certificate(tls_->native_handle());
  return certificate == nullptr ? "" : tls.client_name(certificate);
}

// ---- Bytes ----

void HttpStream::ReadSome(std::span<char> space, Done done) {
  if (!secure_) return Drain(space, std::move(done));
  tls_->async_read_some(asio::buffer(space.data(), space.size()), std::move(done));
}

void HttpStream::Write(const std::string& bytes, Done done) {
  if (secure_) return asio::async_write(*tls_, asio::buffer(bytes), std::move(done));
  asio::async_write(socket_, asio::buffer(bytes), std::move(done));
}

void HttpStream::Drain(std::span<char> space, Done done) {
  socket_.async_read_some(asio::buffer(space.data(), space.size()), std::move(done));
}

// ---- The end ----

void HttpStream::EndWriting(Ended done) {
  const auto end = [this, done = std::move(done)] {
    error_code error;
    socket_.shutdown(Socket::shutdown_send, error);
    done(error);
  };
  if (!secure_) return end();
  // NOTE: it also fails where the client says something in the place of goodbye, which is no matter.
  tls_->async_shutdown([end](const error_code&) { end(); });
}

void HttpStream::Cancel() {
  error_code ignored;
  socket_.cancel(ignored);
}

void HttpStream::Close(bool reset) {
  error_code ignored;
  if (reset) socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  socket_.close(ignored);
}

}  // namespace denoised
