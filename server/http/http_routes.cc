#include "server/http/http_routes.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace denoised {
namespace {

bool Matches(absl::string_view path, absl::string_view route) {
  const size_t star = route.find('*');
  if (star == absl::string_view::npos) return path == route;
  const absl::string_view before = route.substr(0, star), behind = route.substr(star + 1);
  if (path.size() < before.size() + behind.size()) return false;
  return absl::ConsumePrefix(&path, before) && absl::ConsumeSuffix(&path, behind) &&
         path.find('/') == absl::string_view::npos;
}

}  // namespace

void HttpRoutes::Add(const std::string& method, const std::string& path, HttpHandler handler, Where where) {
  routes_[path][method] = {.handler = std::move(handler), .where = where};
}

void HttpRoutes::AddLater(const std::string& method, const std::string& path, HttpLaterHandler handler) {
  routes_[path][method] = {.where = Where::kIoThread, .later = std::move(handler)};
}

const HttpRoutes::Methods* HttpRoutes::FindPath(const std::string& path) const {
  for (const auto& [route, methods] : routes_) {
    if (Matches(path, route)) return &methods;
  }
  return nullptr;
}

const HttpRoutes::Route* HttpRoutes::Find(const HttpRequest& request, HttpResponse* refusal) const {
  const Methods* methods = FindPath(request.path);
  if (methods == nullptr) {
    std::vector<std::string> known;
    for (const auto& route : routes_) known.push_back(route.first);
    *refusal = {.status = 404,
                .body = absl::StrCat("nothing is here; what there is: ", absl::StrJoin(known, ", "), "\n")};
    return nullptr;
  }
  const auto method = methods->find(request.method == "HEAD" ? "GET" : request.method);
  if (method != methods->end() && !(request.method == "HEAD" && method->second.later)) return &method->second;
  std::vector<std::string> allowed;
  for (const auto& [name, route] : *methods) {
    allowed.push_back(name);
    if (name == "GET" && !route.later) allowed.push_back("HEAD");
  }
  const std::string allow = absl::StrJoin(allowed, ", ");
  *refusal = {.status = 405, .body = absl::StrCat("this path is for ", allow, "\n"), .headers = {{"Allow", allow}}};
  return nullptr;
}

}  // namespace denoised
