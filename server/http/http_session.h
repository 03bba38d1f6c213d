// File: http_session.h
//
// One connection of the HTTP server: reads one request, has it answered, writes the answer, and closes. Every wait for
// the client is bounded in time, and the server may end it at any moment (`Close`). Runs on the I/O thread alone, but
// for a handler that its route sends to the worker.
//
//   Reading --request--> Answering --response--> Writing --written--> Lingering --closed by the client--> Closed
//      |                    |                       ^                     ^
//      |                    +--in pieces--> Streaming +--------ended------+
//      +-------- refused, no room, too slow --------+
//
// By TLS there is Handshaking before Reading: what fails there goes on to Lingering, so that the client gets the alert,
// and who speaks plain HTTP instead has an answer that says so.
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
#include "server/http/http_stream.h"
#include "server/http/request_reader.h"

namespace denoised {

class HttpSession;

// What the sessions of a server share.
struct HttpSessionContext {
  const HttpServerOptions& options;
  const HttpRoutes& routes;
  boost::asio::thread_pool& worker;
};

// What its server hears of a session, each with that session.
struct HttpSessionEvents {
  // Its client has begun a handshake, or completed one: twice at most.
  std::function<void(HttpSession*)> on_step;
  // Once, when the socket has been closed.
  std::function<void(HttpSession*)> on_closed;
  // Asked: whether one more may wait for a handler.
  std::function<bool()> has_room;
};

class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  using Clock = std::chrono::steady_clock;

  HttpSession(boost::asio::ip::tcp::socket socket, const HttpSessionContext& context, HttpSessionEvents events);

  void Start();
  void Close();

  // When its client came, came a step further in its handshake, or got the last part of its answer.
  Clock::time_point since() const { return since_; }
  // Whether it waits for its client, rather than for a handler.
  bool waits_for_client() const {
    return phase_ != Phase::kAnswering && !(phase_ == Phase::kStreaming && pieces_.empty());
  }
  // Whether there is something that the client has yet to get.
  bool owes_an_answer() const {
    return phase_ == Phase::kAnswering || phase_ == Phase::kStreaming || phase_ == Phase::kWriting;
  }

 private:
  enum class Phase { kHandshaking, kReading, kAnswering, kStreaming, kWriting, kLingering, kClosed };
  class Responder;  // a handler's way to this session
  struct Piece {
    std::string bytes;
    std::function<void()> taken = nullptr;
  };

  void Handshake();
  void OnHandshake(HttpStream::Handshaken how, const std::string& why);
  void OnStep();
  void TellFailure(const std::string& why);
  void TellError(const HttpResponse& answer) const;
  void BeginReading();
  void Read();
  void OnRead(size_t size);
  void AskForBody();
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
  HttpStream stream_;
  const std::string peer_;
  boost::asio::steady_timer timer_;
  const HttpSessionEvents events_;
  Phase phase_ = Phase::kReading;
  Clock::time_point since_ = Clock::now();
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
