#include "server/http/http_session.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <exception>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace denoised {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr size_t kMaxDiscardedBytes = 1 << 20;

// The answer as it is sent; of one to HEAD, the header alone.
std::string Serialized(HttpResponse response, const HttpRequest& request) {
  http::response<http::string_body> message(static_cast<http::status>(response.status), request.http_1_0 ? 10 : 11);
  message.set(http::field::content_type, response.content_type);
  for (const auto& [name, value] : response.headers) message.set(name, value);
  message.keep_alive(false);
  message.body() = std::move(response.body);
  message.prepare_payload();
  std::ostringstream text;
  if (request.method == "HEAD") {
    text << message.base();
  } else {
    text << message;
  }
  return std::move(text).str();
}

// The head of one that comes in pieces: in chunks, or for HTTP/1.0 until the connection is closed.
std::string SerializedHead(const HttpResponse& head, const HttpRequest& request) {
  http::response<http::empty_body> message(static_cast<http::status>(head.status), request.http_1_0 ? 10 : 11);
  message.set(http::field::content_type, head.content_type);
  for (const auto& [name, value] : head.headers) message.set(name, value);
  message.keep_alive(false);
  if (!request.http_1_0) message.chunked(true);
  std::ostringstream text;
  text << message.base();
  return std::move(text).str();
}

std::string Chunk(const std::string& bytes) { return absl::StrCat(absl::Hex(bytes.size()), "\r\n", bytes, "\r\n"); }
constexpr char kLastChunk[] = "0\r\n\r\n";

std::string PeerOf(const asio::ip::tcp::socket& socket) {
  error_code error;
  const asio::ip::tcp::endpoint peer = socket.remote_endpoint(error);
  if (error) return "";
  asio::ip::address address = peer.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  return address.is_v6() ? absl::StrCat("[", address.to_string(), "]:", peer.port())
                         : absl::StrCat(address.to_string(), ":", peer.port());
}

HttpResponse Failed(const std::exception& error) {
  return {.status = 500, .body = absl::StrCat("the server failed: ", error.what(), "\n")};
}

HttpResponse Handled(const HttpHandler& handler, const HttpRequest& request) {
  try {
    return handler(request);
  } catch (const std::exception& error) {
    return Failed(error);
  }
}

}  // namespace

// Brings what a handler says, on whatever thread, to the I/O thread.
class HttpSession::Responder : public HttpResponder {
 public:
  explicit Responder(std::shared_ptr<HttpSession> session) : session_(std::move(session)) {}

  void Send(HttpResponse response) override {
    Post([response = std::move(response)](HttpSession& session) mutable {
      if (session.phase_ == Phase::kAnswering) session.Write(std::move(response));
    });
  }
  void Begin(HttpResponse head) override {
    Post([head = std::move(head)](HttpSession& session) { session.Begin(head); });
  }
  void Write(std::string bytes, std::function<void()> taken) override {
    Post([piece = Piece{std::move(bytes), std::move(taken)}](HttpSession& session) mutable {
      session.Add(std::move(piece));
    });
  }
  void End() override {
    Post([](HttpSession& session) { session.End(); });
  }

 private:
  template <typename Work>
  void Post(Work work) {
    asio::post(session_->stream_.executor(),
               [session = session_, work = std::move(work)]() mutable { work(*session); });
  }

  const std::shared_ptr<HttpSession> session_;
};

HttpSession::HttpSession(asio::ip::tcp::socket socket, const HttpSessionContext& context, HttpSessionEvents events)
    : context_(context),
      stream_(std::move(socket)),
      peer_(PeerOf(stream_.socket())),
      timer_(stream_.executor()),
      events_(std::move(events)),
      reader_(context.options.limits, peer_),
      to_discard_(kMaxDiscardedBytes) {}

void HttpSession::Start() {
  if (context_.options.tls.has_value()) return Handshake();
  BeginReading();
}

void HttpSession::Handshake() {
  phase_ = Phase::kHandshaking;
  WaitUntil(Clock::now() + context_.options.handshake_timeout);
  stream_.Handshake(
      *context_.options.tls, [self = shared_from_this()] { self->OnStep(); },
      [self = shared_from_this()](HttpStream::Handshaken how, const std::string& why) {
        if (self->phase_ == Phase::kHandshaking) self->OnHandshake(how, why);
      });
}

void HttpSession::OnHandshake(HttpStream::Handshaken how, const std::string& why) {
  switch (how) {
    case HttpStream::Handshaken::kSecure:
      OnStep();
      reader_.set_client_name(stream_.ClientName(*context_.options.tls));
      return BeginReading();
    case HttpStream::Handshaken::kNotAWord:
      return Close();
    case HttpStream::Handshaken::kPlainHttp:
      TellFailure(why);
      return Write({.status = 400, .body = "this port speaks TLS: ask with https:// in the place of http://\n"});
    case HttpStream::Handshaken::kFailed:
      TellFailure(why);
      return Linger();
  }
}

void HttpSession::OnStep() {
  since_ = Clock::now();
  events_.on_step(this);
}

void HttpSession::TellFailure(const std::string& why) {
  if (context_.options.tls->on_failure) context_.options.tls->on_failure(peer_, why);
}

void HttpSession::TellError(const HttpResponse& answer) const {
  if (!context_.options.on_error || !reader_.began()) return;  // a handshake that failed has been told of already
  HttpRequest request = reader_.request();
  request.peer = peer_;
  context_.options.on_error(request, answer);
}

void HttpSession::BeginReading() {
  phase_ = Phase::kReading;
  deadline_ = Clock::now() + context_.options.request_timeout;
  Read();
}

void HttpSession::Close() {
  if (phase_ == Phase::kClosed) return;
  const std::shared_ptr<HttpSession> self = shared_from_this();  // the server forgets it now
  const bool has_untaken_answer = phase_ == Phase::kWriting || phase_ == Phase::kStreaming;
  phase_ = Phase::kClosed;
  timer_.cancel();
  stream_.Close(/*reset=*/has_untaken_answer);
  for (Piece& piece : pieces_) piece.taken = nullptr;  // its maker has hold of this session
  if (const std::function<void()> on_gone = std::exchange(on_gone_, nullptr)) on_gone();
  events_.on_closed(this);
}

void HttpSession::WaitUntil(Clock::time_point time) {
  timer_.expires_at(time);
  timer_.async_wait([self = shared_from_this()](const error_code&) {
    // NOTE: an expiry that was on its way when the next wait began is told from that one's by the time.
    if (self->timer_.expiry() <= Clock::now()) self->OnSlowClient();
  });
}

void HttpSession::WaitForNobody() { timer_.expires_at(Clock::time_point::max()); }

void HttpSession::Read() {
  WaitUntil(std::min(deadline_, Clock::now() + context_.options.idle_timeout));
  stream_.ReadSome(reader_.Space(), [self = shared_from_this()](const error_code& error, size_t size) {
    if (self->phase_ != Phase::kReading) return;
    if (error) return self->Close();
    self->OnRead(size);
  });
}

void HttpSession::OnRead(size_t size) {
  reader_.Received(size);
  switch (reader_.state()) {
    case RequestReader::State::kReading:
      return reader_.TakeExpectation() ? AskForBody() : Read();
    case RequestReader::State::kRefused:
      return Write(reader_.refusal());
    case RequestReader::State::kComplete:
      return Respond();
  }
}

void HttpSession::AskForBody() {
  response_ = "HTTP/1.1 100 Continue\r\n\r\n";
  stream_.Write(response_, [self = shared_from_this()](const error_code& error, size_t) {
    if (self->phase_ != Phase::kReading) return;
    if (error) return self->Close();
    self->Read();
  });
}

void HttpSession::OnSlowClient() {
  if (phase_ == Phase::kAnswering || phase_ == Phase::kClosed) return;
  if (phase_ == Phase::kHandshaking && stream_.handshake_began()) {
    const std::chrono::duration<double> seconds = context_.options.handshake_timeout;
    TellFailure(absl::StrFormat("it was not complete within %g s", seconds.count()));
  }
  if (phase_ != Phase::kReading || !reader_.began()) return Close();
  stream_.Cancel();  // the read
  Write({.status = 408, .body = "the request did not come in time\n"});
}

void HttpSession::Respond() {
  HttpResponse refusal;
  const HttpRoutes::Route* route = context_.routes.Find(reader_.request(), &refusal);
  if (route == nullptr) return Write(std::move(refusal));
  const bool at_once = !route->later && route->where == HttpRoutes::Where::kIoThread;
  if (!at_once && !events_.has_room()) {
    return Write({.status = 503,
                  .body = "as many requests are being answered as this port has room for; try again\n",
                  .headers = {{"Retry-After", "1"}}});
  }
  phase_ = Phase::kAnswering;
  WaitForNobody();
  if (route->later) return RespondLater(route->later);
  if (at_once) return Write(Handled(route->handler, reader_.request()));
  asio::post(context_.worker, [self = shared_from_this(), route] {
    HttpResponse response = Handled(route->handler, self->reader_.request());
    asio::post(self->stream_.executor(),
               [self, response = std::move(response)]() mutable { self->Write(std::move(response)); });
  });
}

void HttpSession::RespondLater(const HttpLaterHandler& handler) {
  Discard();  // which sees the client go
  try {
    on_gone_ = handler(reader_.request(), std::make_shared<Responder>(shared_from_this()));
  } catch (const std::exception& error) {
    Write(Failed(error));
  }
}

void HttpSession::Write(HttpResponse response) {
  if (phase_ == Phase::kClosed) return;
  phase_ = Phase::kWriting;
  OnStep();
  on_gone_ = nullptr;
  if (response.status >= 400) TellError(response);
  response_ = Serialized(std::move(response), reader_.request());
  WaitUntil(Clock::now() + context_.options.response_timeout);
  stream_.Write(response_, [self = shared_from_this()](const error_code& error, size_t) {
    if (self->phase_ != Phase::kWriting) return;
    if (error) return self->Close();
    self->Linger();
  });
}

void HttpSession::Begin(const HttpResponse& head) {
  if (phase_ != Phase::kAnswering) return;
  phase_ = Phase::kStreaming;
  pieces_.push_back({.bytes = SerializedHead(head, reader_.request())});
  WritePiece();
}

void HttpSession::Add(Piece piece) {
  if (phase_ != Phase::kStreaming || ended_) return;
  if (!reader_.request().http_1_0) piece.bytes = Chunk(piece.bytes);
  pieces_.push_back(std::move(piece));
  if (pieces_.size() == 1) WritePiece();
}

void HttpSession::End() {
  if (phase_ != Phase::kStreaming || ended_) return;
  on_gone_ = nullptr;
  ended_ = true;
  const bool writing = !pieces_.empty();
  if (!reader_.request().http_1_0) pieces_.push_back({.bytes = kLastChunk});
  if (writing) return;  // what is under way goes on to the end
  if (pieces_.empty()) return Linger();
  WritePiece();
}

void HttpSession::WritePiece() {
  OnStep();  // from here on it waits for its client
  const std::string& bytes = pieces_.front().bytes;
  const std::chrono::duration<double> reading(static_cast<double>(bytes.size()) /
                                              context_.options.piece_bytes_per_second);
  WaitUntil(Clock::now() + context_.options.piece_timeout + std::chrono::duration_cast<Clock::duration>(reading));
  stream_.Write(bytes, [self = shared_from_this()](const error_code& error, size_t) {
    if (self->phase_ != Phase::kStreaming) return;
    if (error) return self->Close();
    self->OnPieceWritten();
  });
}

void HttpSession::OnPieceWritten() {
  const std::function<void()> taken = std::move(pieces_.front().taken);
  pieces_.pop_front();
  if (!pieces_.empty()) {
    WritePiece();
  } else if (ended_) {
    Linger();
  } else {
    WaitForNobody();
  }
  if (taken) taken();
}

void HttpSession::Linger() {
  phase_ = Phase::kLingering;
  WaitUntil(Clock::now() + context_.options.linger_timeout);
  stream_.EndWriting([self = shared_from_this()](const error_code& error) {
    if (self->phase_ != Phase::kLingering) return;
    if (error) return self->Close();
    if (!self->discarding_) self->Discard();
  });
}

void HttpSession::Discard() {
  discarding_ = true;
  const auto done = [self = shared_from_this()](const error_code& error, size_t size) {
    // NOTE: a response that is whole is still given to a client that has closed its own side.
    if (self->phase_ == Phase::kClosed) return;
    self->discarding_ = false;
    if (self->phase_ == Phase::kWriting) return;
    if (error || size >= self->to_discard_) return self->Close();
    self->to_discard_ -= size;
    self->Discard();
  };
  if (phase_ == Phase::kLingering) return stream_.Drain(discarded_, done);
  stream_.ReadSome(discarded_, done);
}

}  // namespace denoised
