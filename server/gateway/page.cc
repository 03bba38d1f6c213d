#include "server/gateway/page.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace denoised {
namespace {

constexpr char kContentSecurityPolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

std::string ContentType(const std::string& name) {
  if (absl::EndsWith(name, ".html")) return "text/html; charset=utf-8";
  if (absl::EndsWith(name, ".css")) return "text/css; charset=utf-8";
  if (absl::EndsWith(name, ".js")) return "text/javascript; charset=utf-8";
  if (absl::EndsWith(name, ".json")) return "application/json";
  if (absl::EndsWith(name, ".svg")) return "image/svg+xml";
  return "application/octet-stream";
}

}  // namespace

void AddPage(HttpRoutes& routes) {
  for (const PageFile& file : PageFiles()) {
    const std::string name(file.name);
    const HttpResponse response = {.content_type = ContentType(name),
                                   .body = std::string(file.content),
                                   .headers = {{"Content-Security-Policy", kContentSecurityPolicy},
                                               {"X-Content-Type-Options", "nosniff"},
                                               {"Referrer-Policy", "no-referrer"},
                                               {"Cache-Control", "no-cache"}}};
    routes.Add(
        "GET", name == "index.html" ? "/" : absl::StrCat("/", name),
        [response](const HttpRequest&) { return response; }, HttpRoutes::Where::kIoThread);
  }
}

}  // namespace denoised
