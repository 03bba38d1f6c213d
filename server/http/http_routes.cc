#include "server/http/http_routes.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace denoised {

void HttpRoutes::Add(const std::string& method, const std::string& path, HttpHandler handler, Where where) {
  routes_[path][method] = {.handler = std::move(handler), .where = where};
}

const HttpRoutes::Route* HttpRoutes::Find(const HttpRequest& request, HttpResponse* refusal) const {
  const auto path = routes_.find(request.path);
  if (path == routes_.end()) {
    std::vector<std::string> known;
    for (const auto& [name, methods] : routes_) known.push_back(name);
    *refusal = {.status = 404,
                .body = absl::StrCat("nothing is here; what there is: ", absl::StrJoin(known, ", "), "\n")};
    return nullptr;
  }
  const auto method = path->second.find(request.method == "HEAD" ? "GET" : request.method);
  if (method != path->second.end()) return &method->second;
  std::vector<std::string> allowed;
  for (const auto& [name, route] : path->second) {
    allowed.push_back(name);
    if (name == "GET") allowed.push_back("HEAD");
  }
  const std::string allow = absl::StrJoin(allowed, ", ");
  *refusal = {.status = 405, .body = absl::StrCat("this path is for ", allow, "\n"), .headers = {{"Allow", allow}}};
  return nullptr;
}

}  // namespace denoised
