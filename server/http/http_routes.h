// File: http_routes.h
//
// Which handler answers which path and method.
//
//   HttpRoutes routes;
//   routes.Add("GET", "/metrics", scrape);
//   routes.Add("GET", "/healthz", health, HttpRoutes::Where::kIoThread);
//
// HEAD is answered by the handler of GET. Paths are compared as they are sent; a "*" in a route's path stands for
// whatever holds no slash. Not thread-safe while routes are added.
#ifndef DENOISED_SERVER_HTTP_HTTP_ROUTES_H_
#define DENOISED_SERVER_HTTP_HTTP_ROUTES_H_

#include <map>
#include <string>

#include "server/http/http_message.h"
#include "server/http/http_responder.h"

namespace denoised {

class HttpRoutes {
 public:
  enum class Where {
    kWorker,    // on the server's one worker thread, where it may take a while
    kIoThread,  // between the reads and writes of all clients: for what takes microseconds
  };
  struct Route {
    HttpHandler handler = nullptr;  // or `later`
    Where where = Where::kWorker;
    HttpLaterHandler later = nullptr;
  };

  void Add(const std::string& method, const std::string& path, HttpHandler handler, Where where = Where::kWorker);

  // A handler that answers when it can; not for HEAD, which has 405.
  void AddLater(const std::string& method, const std::string& path, HttpLaterHandler handler);

  // The route of a request; nullptr where there is none, and then `refusal` is the answer: 404, or 405 with Allow.
  const Route* Find(const HttpRequest& request, HttpResponse* refusal) const;

 private:
  using Methods = std::map<std::string, Route>;
  const Methods* FindPath(const std::string& path) const;

  std::map<std::string, Methods> routes_;  // by path
};

}  // namespace denoised

#endif  // DENOISED_SERVER_HTTP_HTTP_ROUTES_H_
