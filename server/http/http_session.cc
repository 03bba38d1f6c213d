#include "server/http/http_session.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
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

HttpResponse Handled(const HttpHandler& handler, const HttpRequest& request) {
  try {
    return handler(request);
  } catch (const std::exception& error) {
    return {.status = 500, .body = absl::StrCat("the server failed: ", error.what(), "\n")};
  }
}

}  // namespace

HttpSession::HttpSession(asio::ip::tcp::socket socket, const HttpSessionContext& context,
                         std::function<void(HttpSession*)> on_closed)
    : context_(context),
      socket_(std::move(socket)),
      timer_(socket_.get_executor()),
      on_closed_(std::move(on_closed)),
      reader_(context.options.limits),
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
  if (phase_ == Phase::kWriting) socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  phase_ = Phase::kClosed;
  timer_.cancel();
  socket_.close(ignored);
  on_closed_(this);
}

void HttpSession::WaitUntil(Clock::time_point time) {
  timer_.expires_at(time);
  timer_.async_wait([self = shared_from_this()](const error_code&) {
    // NOTE: an expiry that was on its way when the next wait began is told from that one's by the time.
    if (self->timer_.expiry() <= Clock::now()) self->OnSlowClient();
  });
}

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
      return Answer();
  }
}

void HttpSession::OnSlowClient() {
  if (phase_ == Phase::kAnswering || phase_ == Phase::kClosed) return;
  if (phase_ != Phase::kReading || !reader_.began()) return Close();
  error_code ignored;
  socket_.cancel(ignored);  // the read
  Write({.status = 408, .body = "the request did not come in time\n"});
}

void HttpSession::Answer() {
  phase_ = Phase::kAnswering;
  timer_.cancel();
  HttpResponse refusal;
  const HttpRoutes::Route* route = context_.routes.Find(reader_.request(), &refusal);
  if (route == nullptr) return Write(std::move(refusal));
  if (route->where == HttpRoutes::Where::kIoThread) return Write(Handled(route->handler, reader_.request()));
  asio::post(context_.worker, [self = shared_from_this(), route] {
    HttpResponse response = Handled(route->handler, self->reader_.request());
    asio::post(self->socket_.get_executor(),
               [self, response = std::move(response)]() mutable { self->Write(std::move(response)); });
  });
}

void HttpSession::Write(HttpResponse response) {
  if (phase_ == Phase::kClosed) return;
  phase_ = Phase::kWriting;
  response_ = Serialized(std::move(response), reader_.request());
  WaitUntil(Clock::now() + context_.options.response_timeout);
  asio::async_write(socket_, asio::buffer(response_), [self = shared_from_this()](const error_code& error, size_t) {
    if (self->phase_ != Phase::kWriting) return;
    if (error) return self->Close();
    self->Linger();
  });
}

void HttpSession::Linger() {
  phase_ = Phase::kLingering;
  error_code error;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, error);
  if (error) return Close();
  WaitUntil(Clock::now() + context_.options.linger_timeout);
  Discard();
}

void HttpSession::Discard() {
  socket_.async_read_some(asio::buffer(discarded_), [self = shared_from_this()](const error_code& error, size_t size) {
    if (self->phase_ != Phase::kLingering) return;
    if (error || size >= self->to_discard_) return self->Close();
    self->to_discard_ -= size;
    self->Discard();
  });
}

}  // namespace denoised
