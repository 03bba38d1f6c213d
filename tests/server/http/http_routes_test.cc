#include "server/http/http_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace denoised {
namespace {

using testing::ElementsAre;
using testing::IsNull;
using testing::NotNull;
using testing::Pair;

HttpRoutes SomeRoutes() {
  const HttpHandler nothing = [](const HttpRequest&) { return HttpResponse{}; };
  HttpRoutes routes;
  routes.Add("GET", "/metrics", nothing);
  routes.Add("GET", "/digits", nothing);
  routes.Add("POST", "/digits", nothing, HttpRoutes::Where::kIoThread);
  return routes;
}

TEST(HttpRoutesTest, PathAndMethodChooseTheHandler) {
  const HttpRoutes routes = SomeRoutes();
  HttpResponse refusal;
  const HttpRoutes::Route* get = routes.Find({.method = "GET", .path = "/digits"}, &refusal);
  ASSERT_THAT(get, NotNull());
  EXPECT_EQ(get->where, HttpRoutes::Where::kWorker);
  const HttpRoutes::Route* post = routes.Find({.method = "POST", .path = "/digits"}, &refusal);
  ASSERT_THAT(post, NotNull());
  EXPECT_EQ(post->where, HttpRoutes::Where::kIoThread);
}

TEST(HttpRoutesTest, HeadIsAnsweredByTheHandlerOfGet) {
  const HttpRoutes routes = SomeRoutes();
  HttpResponse refusal;
  EXPECT_EQ(routes.Find({.method = "HEAD", .path = "/digits"}, &refusal),
            routes.Find({.method = "GET", .path = "/digits"}, &refusal));
}

TEST(HttpRoutesTest, AnUnknownPathIsToldWhatThereIs) {
  HttpResponse refusal;
  EXPECT_THAT(SomeRoutes().Find({.method = "GET", .path = "/metrics/"}, &refusal), IsNull());
  EXPECT_EQ(refusal.status, 404);
  EXPECT_EQ(refusal.body, "nothing is here; what there is: /digits, /metrics\n");
}

TEST(HttpRoutesTest, AnotherMethodIsToldWhichAreAllowed) {
  HttpResponse refusal;
  EXPECT_THAT(SomeRoutes().Find({.method = "PUT", .path = "/digits"}, &refusal), IsNull());
  EXPECT_EQ(refusal.status, 405);
  EXPECT_EQ(refusal.body, "this path is for GET, HEAD, POST\n");
  EXPECT_THAT(refusal.headers, ElementsAre(Pair("Allow", "GET, HEAD, POST")));
}

TEST(HttpRoutesTest, AStarStandsForWhateverHoldsNoSlash) {
  HttpRoutes routes;
  routes.Add("GET", "/v1/digits/*.png", [](const HttpRequest&) { return HttpResponse{}; });
  HttpResponse refusal;
  for (const char* path : {"/v1/digits/7.png", "/v1/digits/seven.png", "/v1/digits/.png"}) {
    EXPECT_NE(routes.Find({.method = "GET", .path = path}, &refusal), nullptr) << path;
  }
  for (const char* path : {"/v1/digits/7.jpg", "/v1/digits/a/7.png", "/v1/digits.png", "/v1/digits/"}) {
    EXPECT_EQ(routes.Find({.method = "GET", .path = path}, &refusal), nullptr) << path;
  }
}

}  // namespace
}  // namespace denoised
