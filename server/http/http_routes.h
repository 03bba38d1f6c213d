// File: http_routes.h
//
// Which handler answers which path and method.
//
//   HttpRoutes routes;
//   routes.Add("GET", "/metrics", scrape);
//   routes.Add("GET", "/healthz", health, HttpRoutes::Where::kIoThread);
//
// HEAD is answered by the handler of GET. Paths are compared as they are sent. Not thread-safe while routes are added.
#ifndef DENOISED_SERVER_HTTP_HTTP_ROUTES_H_
#define DENOISED_SERVER_HTTP_HTTP_ROUTES_H_

#include <map>
#include <string>

#include "server/http/http_message.h"

namespace denoised {

class HttpRoutes {
 public:
  enum class Where {
    kWorker,    // on the server's one worker thread, where it may take a while
    kIoThread,  // between the reads and writes of all clients: for what takes microseconds
  };
  struct Route {
    HttpHandler handler;
    Where where = Where::kWorker;
  };

  void Add(const std::string& method, const std::string& path, HttpHandler handler, Where where = Where::kWorker);

  // The route of a request; nullptr where there is none, and then `refusal` is the answer: 404, or 405 with Allow.
  const Route* Find(const HttpRequest& request, HttpResponse* refusal) const;

 private:
  std::map<std::string, std::map<std::string, Route>> routes_;  // by path, then by method
};

}  // namespace denoised

#endif  // DENOISED_SERVER_HTTP_HTTP_ROUTES_H_
