// File: request_reader.h
//
// Reads one HTTP request from bytes as they come, by Boost.Beast's parser, and gives up as soon as it is longer than
// allowed: it never holds more than the limits, whatever is sent.
//
//   RequestReader reader({});
//   while (reader.state() == RequestReader::State::kReading) reader.Received(receive(reader.Space()));
//   if (reader.state() == RequestReader::State::kComplete) answer(reader.request()); else answer(reader.refusal());
//
// What follows the request is not looked at. Not thread-safe.
#ifndef DENOISED_SERVER_HTTP_REQUEST_READER_H_
#define DENOISED_SERVER_HTTP_REQUEST_READER_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "server/http/http_message.h"

namespace denoised {

struct HttpRequestLimits {
  size_t max_header_bytes = 8 << 10;  // request line and headers, together or each as they come, and chunk headers
  size_t max_body_bytes = 64 << 10;
};

class RequestReader {
 public:
  enum class State { kReading, kComplete, kRefused };

  // `peer`: of each request.
  explicit RequestReader(const HttpRequestLimits& limits, std::string peer = "");
  ~RequestReader();
  RequestReader(const RequestReader&) = delete;
  RequestReader& operator=(const RequestReader&) = delete;

  // Where the client's next bytes go: at least one byte of room while kReading.
  std::span<char> Space();
  // `size` bytes were put there.
  void Received(size_t size);

  // Of each request: HttpRequest::client_name.
  void set_client_name(std::string name);

  State state() const;
  bool began() const;  // whether any byte came
  // True once: the client has sent the header and holds the body back until it hears that it is wanted (RFC 9110,
  // 10.1.1).
  bool TakeExpectation();

  // When kComplete.
  const HttpRequest& request() const;
  // When kRefused: 400, 413, 431 or 505, in words.
  const HttpResponse& refusal() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_HTTP_REQUEST_READER_H_
