#include "server/http/http_session.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <exception>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"

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
    asio::post(session_->socket_.get_executor(),
               [session = session_, work = std::move(work)]() mutable { work(*session); });
  }

  const std::shared_ptr<HttpSession> session_;
};

HttpSession::HttpSession(asio::ip::tcp::socket socket, const HttpSessionContext& context,
                         std::function<void(HttpSession*)> on_closed)
    : context_(context),
      socket_(std::move(socket)),
      timer_(socket_.get_executor()),
      on_closed_(std::move(on_closed)),
      reader_(context.options.limits, PeerOf(socket_)),
      to_discard_(kMaxDiscardedBytes) {}

void HttpSession::Start() {
  deadline_ = Clock::now() + context_.options.request_timeout;
  Read();
}

void HttpSession::Close() {
  if (phase_ == Phase::kClosed) return;
  const std::shared_ptr<HttpSession> self = shared_from_this();  // the server forgets it now
  error_code ignored;
  // An answer that is not taken would stay in the kernel's memory for minutes: reset the connection.
  if (phase_ == Phase::kWriting || phase_ == Phase::kStreaming) {
    socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  }
  phase_ = Phase::kClosed;
  timer_.cancel();
  socket_.close(ignored);
  for (Piece& piece : pieces_) piece.taken = nullptr;  // its maker has hold of this session
  if (const std::function<void()> on_gone = std::exchange(on_gone_, nullptr)) on_gone();
  on_closed_(this);
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
  const std::span<char> space = reader_.Space();
  socket_.async_read_some(asio::buffer(space.data(), space.size()),
                          [self = shared_from_this()](const error_code& error, size_t size) {
                            if (self->phase_ != Phase::kReading) return;
                            if (error) return self->Close();
                            self->OnRead(size);
                          });
}

void HttpSession::OnRead(size_t size) {
  reader_.Received(size);
  switch (reader_.state()) {
    case RequestReader::State::kReading:
      return Read();
    case RequestReader::State::kRefused:
      return Write(reader_.refusal());
    case RequestReader::State::kComplete:
      return Respond();
  }
}

void HttpSession::OnSlowClient() {
  if (phase_ == Phase::kAnswering || phase_ == Phase::kClosed) return;
  if (phase_ != Phase::kReading || !reader_.began()) return Close();
  error_code ignored;
  socket_.cancel(ignored);  // the read
  Write({.status = 408, .body = "the request did not come in time\n"});
}

void HttpSession::Respond() {
  phase_ = Phase::kAnswering;
  WaitForNobody();
  HttpResponse refusal;
  const HttpRoutes::Route* route = context_.routes.Find(reader_.request(), &refusal);
  if (route == nullptr) return Write(std::move(refusal));
  if (route->later) return RespondLater(route->later);
  if (route->where == HttpRoutes::Where::kIoThread) return Write(Handled(route->handler, reader_.request()));
  asio::post(context_.worker, [self = shared_from_this(), route] {
    HttpResponse response = Handled(route->handler, self->reader_.request());
    asio::post(self->socket_.get_executor(),
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
  on_gone_ = nullptr;
  response_ = Serialized(std::move(response), reader_.request());
  WaitUntil(Clock::now() + context_.options.response_timeout);
  asio::async_write(socket_, asio::buffer(response_), [self = shared_from_this()](const error_code& error, size_t) {
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
  WaitUntil(Clock::now() + context_.options.response_timeout);
  asio::async_write(socket_, asio::buffer(pieces_.front().bytes),
                    [self = shared_from_this()](const error_code& error, size_t) {
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
  error_code error;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, error);
  if (error) return Close();
  WaitUntil(Clock::now() + context_.options.linger_timeout);
  if (!discarding_) Discard();
}

void HttpSession::Discard() {
  discarding_ = true;
  socket_.async_read_some(asio::buffer(discarded_), [self = shared_from_this()](const error_code& error, size_t size) {
    // NOTE: a response that is whole is still given to a client that has closed its own side.
    if (self->phase_ == Phase::kClosed) return;
    self->discarding_ = false;
    if (self->phase_ == Phase::kWriting) return;
    if (error || size >= self->to_discard_) return self->Close();
    self->to_discard_ -= size;
    self->Discard();
  });
}

}  // namespace denoised
