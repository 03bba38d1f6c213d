// File: http_stream.h
//
// The bytes to and from one client, as they are or by TLS (Boost.Asio's, on OpenSSL).
//
//   HttpStream stream(std::move(socket));
//   stream.Handshake(tls, [&](HttpStream::Handshaken how, const std::string& why) { ... });   // or straight away:
//   stream.ReadSome(space, [&](const error_code& error, size_t bytes) { ... });
//   stream.Write(answer, [&](const error_code& error, size_t) { stream.EndWriting(...); });
//
// One read and one write may be under way at a time; what is read into or written from stays until its callback. Every
// callback is called once, on the socket's executor, or at once where that is said; callbacks keep the stream alive. No
// time is bounded here. Not thread-safe.
#ifndef DENOISED_SERVER_HTTP_HTTP_STREAM_H_
#define DENOISED_SERVER_HTTP_HTTP_STREAM_H_

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/system/error_code.hpp>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "server/http/http_tls.h"

namespace denoised {

class HttpStream {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using Done = std::function<void(const boost::system::error_code& error, size_t bytes)>;
  using Ended = std::function<void(const boost::system::error_code& error)>;

  enum class Handshaken {
    kSecure,
    kPlainHttp,  // it asks in plain HTTP, which may be answered so
    kNotAWord,   // it went before it said anything
    kFailed,
  };
  using HandshakeDone = std::function<void(Handshaken how, const std::string& why)>;

  explicit HttpStream(Socket socket) : socket_(std::move(socket)) {}
  HttpStream(const HttpStream&) = delete;
  HttpStream& operator=(const HttpStream&) = delete;

  Socket::executor_type executor() { return socket_.get_executor(); }
  const Socket& socket() const { return socket_; }

  // From kSecure on, everything goes by TLS. `began`: called before `done` when the client has begun a handshake. `why`
  // it failed, in words. `tls` outlives the stream.
  void Handshake(const HttpTls& tls, std::function<void()> began, HandshakeDone done);
  // Whether the client has said anything of a handshake.
  bool handshake_began() const { return tls_.has_value(); }
  // After kSecure: the name in the certificate that it has shown; empty without one.
  std::string ClientName(const HttpTls& tls);

  void ReadSome(std::span<char> space, Done done);
  // All of it.
  void Write(const std::string& bytes, Done done);

  // Tells the client that nothing more comes: by TLS after that has been said and answered. May call at once.
  void EndWriting(Ended done);
  // After EndWriting: reads what still comes, by TLS too as it is on the wire, for nobody to see.
  void Drain(std::span<char> space, Done done);

  // Ends what is under way; its callbacks get an error.
  void Cancel();
  // `reset`: what the client has not taken yet is thrown away, else the kernel keeps it for minutes.
  void Close(bool reset);

 private:
  void Secure(const HttpTls& tls, HandshakeDone done);
  std::string WordsFor(const boost::system::error_code& error);

  Socket socket_;
  std::optional<boost::asio::ssl::stream<Socket&>> tls_;  // from the client's first word
  bool secure_ = false;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_HTTP_HTTP_STREAM_H_
