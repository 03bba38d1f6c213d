// File: http_session.h
//
// One connection of the HTTP server: reads one request, has it answered, writes the answer, and closes. Every wait for
// the client is bounded in time, and the server may end it at any moment (`Close`). Runs on the I/O thread alone, but
// for a handler that its route sends to the worker.
//
//   Reading --request--> Answering --response--> Writing --written--> Lingering --closed by the client--> Closed
//      |                    |                       ^                     ^
//      |                    +--in pieces--> Streaming +--------ended------+
//      +------------- refused, or too slow ---------+
//
// A client that closes its side while a handler that answers later is at work, or amid the pieces, has gone: the
// handler is told, and the connection closed.
//
// Lingering: what the client still sends is thrown away for a moment, because a socket that is closed with unread bytes
// resets the connection, and the client might lose the answer.
#ifndef DENOISED_SERVER_HTTP_HTTP_SESSION_H_
#define DENOISED_SERVER_HTTP_HTTP_SESSION_H_

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "server/http/http_message.h"
#include "server/http/http_responder.h"
#include "server/http/http_routes.h"
#include "server/http/http_server.h"
#include "server/http/request_reader.h"

namespace denoised {

// What the sessions of a server share.
struct HttpSessionContext {
  const HttpServerOptions& options;
  const HttpRoutes& routes;
  boost::asio::thread_pool& worker;
};

class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  using Clock = std::chrono::steady_clock;

  // `on_closed` is called once, when the socket has been closed.
  HttpSession(boost::asio::ip::tcp::socket socket, const HttpSessionContext& context,
              std::function<void(HttpSession*)> on_closed);

  void Start();
  void Close();

  // Whether it waits for its client, rather than for a handler.
  bool waits_for_client() const {
    return phase_ != Phase::kAnswering && !(phase_ == Phase::kStreaming && pieces_.empty());
  }
  // Whether there is something that the client has yet to get.
  bool owes_an_answer() const {
    return phase_ == Phase::kAnswering || phase_ == Phase::kStreaming || phase_ == Phase::kWriting;
  }

 private:
  enum class Phase { kReading, kAnswering, kStreaming, kWriting, kLingering, kClosed };
  class Responder;  // a handler's way to this session
  struct Piece {
    std::string bytes;
    std::function<void()> taken = nullptr;
  };

  void Read();
  void OnRead(size_t size);
  void OnSlowClient();
  void Respond();
  void RespondLater(const HttpLaterHandler& handler);
  void Write(HttpResponse response);
  void Begin(const HttpResponse& head);
  void Add(Piece piece);
  void End();
  void WritePiece();
  void OnPieceWritten();
  void Linger();
  void Discard();

  // Has OnSlowClient called when the client has not been waited for successfully until then.
  void WaitUntil(Clock::time_point time);
  void WaitForNobody();

  const HttpSessionContext context_;
  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;
  std::function<void(HttpSession*)> on_closed_;
  Phase phase_ = Phase::kReading;
  RequestReader reader_;
  Clock::time_point deadline_;  // of the phase
  std::string response_;
  std::deque<Piece> pieces_;  // the first is on its way
  bool ended_ = false;        // no more pieces come
  std::function<void()> on_gone_;
  size_t to_discard_;
  bool discarding_ = false;
  std::array<char, 4096> discarded_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_HTTP_HTTP_SESSION_H_
