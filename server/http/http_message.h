// File: http_message.h
//
// What a handler is given and what it answers with; plain data, free of the HTTP library.
//
//   const HttpHandler hello = [](const HttpRequest&) { return HttpResponse{.body = "hello\n"}; };
#ifndef DENOISED_SERVER_HTTP_HTTP_MESSAGE_H_
#define DENOISED_SERVER_HTTP_HTTP_MESSAGE_H_

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace denoised {

struct HttpRequest {
  std::string method;      // as sent, such as "GET"
  std::string path;        // of the target, without the query: "/metrics"
  std::string query = {};  // what stands behind the "?", or nothing
  std::string body = {};
  std::multimap<std::string, std::string> headers = {};  // by their names in small letters, repeated ones in order
  std::string peer = {};         // the client's address and port: "192.0.2.7:40000", "[2001:db8::1]:40000"
  std::string client_name = {};  // in the certificate that the client has shown by TLS; empty without one
  bool http_1_0 = false;         // the client speaks HTTP/1.0, and is answered so
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body = {};
  std::vector<std::pair<std::string, std::string>> headers = {};  // besides type, length and connection
  std::string error = {};  // in words, where the body is none; for HttpServerOptions::on_error
};

using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

}  // namespace denoised

#endif  // DENOISED_SERVER_HTTP_HTTP_MESSAGE_H_
