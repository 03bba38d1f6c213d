#include "server/gateway/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_replace.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::HasSubstr;
using testing::Not;

HttpResponse Get(const std::string& path) {
  HttpRoutes routes;
  AddPage(routes);
  const HttpRequest request = {.method = "GET", .path = path};
  HttpResponse refusal;
  const HttpRoutes::Route* route = routes.Find(request, &refusal);
  return route == nullptr ? refusal : route->handler(request);
}

TEST(PageTest, IsTheFilesOfTheTree) {
  for (const PageFile& file : PageFiles()) {
    EXPECT_EQ(file.content, Slurp(DENOISED_SOURCE_DIR "/server/gateway/page/" + std::string(file.name))) << file.name;
  }
}

// So that it is served by HTTP and HTTPS alike, from wherever it is.
TEST(PageTest, NoFileSaysByWhatSchemeTheServerIsReached) {
  for (const PageFile& file : PageFiles()) {
    const std::string content =
        absl::StrReplaceAll(std::string(file.content), {{"http://www.w3.org/", ""}});  // names of formats
    EXPECT_THAT(content, Not(HasSubstr("http://"))) << file.name;
    EXPECT_THAT(content, Not(HasSubstr("https://"))) << file.name;
    EXPECT_THAT(content, Not(HasSubstr("\"servers\""))) << file.name;
  }
}

TEST(PageTest, BrowsersAreToldToLoadNothingFromElsewhere) {
  const HttpResponse page = Get("/");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.content_type, "text/html; charset=utf-8");
  ASSERT_FALSE(page.headers.empty());
  EXPECT_EQ(page.headers[0].first, "Content-Security-Policy");
  EXPECT_THAT(page.headers[0].second, HasSubstr("default-src 'none'; script-src 'self'"));
  EXPECT_THAT(page.headers[0].second, Not(HasSubstr("unsafe")));
}

TEST(PageTest, ScriptsAndStylesHaveTheirTypes) {
  EXPECT_EQ(Get("/page.js").content_type, "text/javascript; charset=utf-8");
  EXPECT_EQ(Get("/page.css").content_type, "text/css; charset=utf-8");
}

}  // namespace
}  // namespace denoised
