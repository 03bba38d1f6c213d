#include "server/http/request_reader.h"

#include <algorithm>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace denoised {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

constexpr size_t kReadBytes = 4 << 10;  // asked of the socket at a time

// Beside a header of the largest size there is room for one more read.
size_t BufferBytes(const HttpRequestLimits& limits) { return limits.max_header_bytes + kReadBytes; }

HttpResponse HeaderTooLong(const HttpRequestLimits& limits) {
  return {.status = 431,
          .body = absl::StrCat("the request line and headers may have ", limits.max_header_bytes, " bytes at most\n")};
}

HttpResponse Refusal(const error_code& error, const HttpRequestLimits& limits) {
  if (error == http::error::header_limit) return HeaderTooLong(limits);
  if (error == http::error::body_limit) {
    return {.status = 413, .body = absl::StrCat("a body may have ", limits.max_body_bytes, " bytes at most\n")};
  }
  if (error == http::error::bad_version) return {.status = 505, .body = "this port speaks HTTP/1.0 and HTTP/1.1\n"};
  return {.status = 400, .body = absl::StrCat("this is no HTTP request: ", error.message(), "\n")};
}

// The target as "/path?query": a client that believes to speak to a proxy sends "http://host/path?query".
std::string OriginForm(std::string target) {
  if (!absl::StartsWithIgnoreCase(target, "http://")) return target;
  const size_t path = target.find_first_of("/?", std::string("http://").size());
  if (path == std::string::npos) return "/";
  return target[path] == '/' ? target.substr(path) : absl::StrCat("/", target.substr(path));
}

}  // namespace

struct RequestReader::Impl {
  Impl(const HttpRequestLimits& request_limits, std::string request_peer)
      : limits(request_limits), peer(std::move(request_peer)), buffer(BufferBytes(request_limits)) {
    parser.header_limit(static_cast<std::uint32_t>(limits.max_header_bytes));
    parser.body_limit(limits.max_body_bytes);
    parser.eager(true);
  }

  // Parses what is there. An error of need_more is none: the rest is still to come.
  error_code Parse() {
    error_code error;
    while (!error && !parser.is_done() && buffer.size() > 0) buffer.consume(parser.put(buffer.data(), error));
    return error == http::error::need_more ? error_code() : error;
  }

  void Refuse(HttpResponse with) {
    refusal = std::move(with);
    state = State::kRefused;
  }

  void Complete() {
    auto& message = parser.get();
    std::multimap<std::string, std::string> headers;
    for (const auto& field : message) {
      headers.emplace(absl::AsciiStrToLower(std::string(field.name_string())), std::string(field.value()));
    }
    const std::string target = OriginForm(std::string(message.target().data(), message.target().size()));
    const size_t query = std::min(target.find('?'), target.size());
    request = {.method = std::string(message.method_string().data(), message.method_string().size()),
               .path = target.substr(0, query),
               .query = target.substr(std::min(query + 1, target.size())),
               .body = std::move(message.body()),
               .headers = std::move(headers),
               .peer = peer,
               .client_name = client_name,
               .http_1_0 = message.version() < 11};
    state = State::kComplete;
  }

  const HttpRequestLimits limits;
  const std::string peer;
  std::string client_name;
  boost::beast::flat_buffer buffer;
  http::request_parser<http::string_body> parser;
  State state = State::kReading;
  bool began = false;
  bool expected = false;  // TakeExpectation has looked
  HttpRequest request;
  HttpResponse refusal;
};

RequestReader::RequestReader(const HttpRequestLimits& limits, std::string peer)
    : impl_(std::make_unique<Impl>(limits, std::move(peer))) {}
RequestReader::~RequestReader() = default;

std::span<char> RequestReader::Space() {
  auto& buffer = impl_->buffer;
  const auto space = buffer.prepare(std::min(kReadBytes, buffer.max_size() - buffer.size()));
  return {static_cast<char*>(space.data()), space.size()};
}

void RequestReader::Received(size_t size) {
  impl_->began |= size > 0;
  impl_->buffer.commit(size);
  if (const error_code error = impl_->Parse()) {
    impl_->Refuse(Refusal(error, impl_->limits));
  } else if (impl_->parser.is_done()) {
    impl_->Complete();
  } else if (impl_->buffer.size() == impl_->buffer.max_size()) {
    impl_->Refuse(HeaderTooLong(impl_->limits));  // a chunk's header without end: the parser's limit is not for those
  }
}

bool RequestReader::TakeExpectation() {
  const auto& parser = impl_->parser;
  if (impl_->expected || impl_->state != State::kReading || !parser.is_header_done()) return false;
  impl_->expected = true;
  const auto& message = parser.get();
  return message.version() >= 11 && absl::EqualsIgnoreCase(std::string(message[http::field::expect]), "100-continue");
}

void RequestReader::set_client_name(std::string name) { impl_->client_name = std::move(name); }

RequestReader::State RequestReader::state() const { return impl_->state; }
bool RequestReader::began() const { return impl_->began; }
const HttpRequest& RequestReader::request() const { return impl_->request; }
const HttpResponse& RequestReader::refusal() const { return impl_->refusal; }

}  // namespace denoised
