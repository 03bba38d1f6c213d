#include "server/tracing/otlp_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common/support/build_info.h"
#include "tests/testing/captured_log.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::Pair;
using testing::UnorderedElementsAre;

TEST(OtlpOptionsTest, AnEndpointIsHostAndPortWithOrWithoutTls) {
  for (const auto& [text, address, tls] : std::vector<std::tuple<std::string, std::string, bool>>{
           {"localhost:4317", "localhost:4317", false},
           {"http://collector.example:4317", "collector.example:4317", false},
           {"https://collector.example:443", "collector.example:443", true},
           {"https://[2001:db8::1]:4317/", "[2001:db8::1]:4317", true}}) {
    const absl::StatusOr<OtlpTarget> target = ParseOtlpTarget({.endpoint = text});
    ASSERT_THAT(target, IsOk()) << text;
    EXPECT_EQ(target->address, address);
    EXPECT_EQ(target->tls, tls) << text;
    EXPECT_EQ(target->roots, "");
  }
}

TEST(OtlpOptionsTest, WhatIsNoEndpointIsSaid) {
  for (const char* text :
       {"localhost", "localhost:", ":4317", "localhost:0", "localhost:65536", "localhost:http",
        "http://localhost:4318/v1/traces", "2001:db8::1:4317", "grpc://localhost:4317", "a b:4317"}) {
    EXPECT_THAT(ParseOtlpTarget({.endpoint = text}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         std::string("--otlp_endpoint must be the host and port where a collector takes OTLP by gRPC, "
                                     "such as localhost:4317, or https://collector.example:4317 with TLS, got ") +
                             text));
  }
}

TEST(OtlpOptionsTest, ASecretInAnEndpointIsNotEchoed) {
  for (const char* text : {"https://user:secret@collector.example:4317", "user:sec@ret@collector.example:4317"}) {
    EXPECT_THAT(ParseOtlpTarget({.endpoint = text}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         "--otlp_endpoint must be the host and port where a collector takes OTLP by gRPC, such as "
                         "localhost:4317, or https://collector.example:4317 with TLS, got ...@collector.example:4317 "
                         "(names of users have no place there)"));
  }
}

TEST(OtlpOptionsTest, ACaIsForTls) {
  const TempFolder folder;
  const std::string ca = folder.Write("ca.pem", "-----BEGIN CERTIFICATE-----\n");
  EXPECT_EQ(ParseOtlpTarget({.endpoint = "https://localhost:4317", .ca = ca})->roots, "-----BEGIN CERTIFICATE-----\n");
  EXPECT_THAT(ParseOtlpTarget({.endpoint = "localhost:4317", .ca = ca}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--otlp_ca is for a collector with TLS: write --otlp_endpoint=https://localhost:4317, or leave "
                       "--otlp_ca out"));
  EXPECT_THAT(
      CheckOtlpOptions({.ca = ca}),
      StatusIs(absl::StatusCode::kInvalidArgument, "--otlp_ca is of no use without --otlp_endpoint=https://HOST:PORT"));
  EXPECT_THAT(CheckOtlpOptions({}), IsOk());
}

TEST(OtlpOptionsTest, ACaThatIsNoneIsSaid) {
  const TempFolder folder;
  const std::string empty = folder.Write("empty.pem", ""), missing = folder.File("missing.pem");
  EXPECT_THAT(ParseOtlpTarget({.endpoint = "https://localhost:4317", .ca = empty}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--otlp_ca: " + empty + " holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"));
  const absl::Status status = ParseOtlpTarget({.endpoint = "https://localhost:4317", .ca = missing}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--otlp_ca: "));
  EXPECT_THAT(std::string(status.message()), HasSubstr(missing));
}

class ResourceTest : public testing::Test {
 protected:
  ~ResourceTest() override {
    unsetenv("OTEL_SERVICE_NAME");
    unsetenv("OTEL_RESOURCE_ATTRIBUTES");
  }
};

TEST_F(ResourceTest, NamesServiceVersionAndInstance) {
  EXPECT_THAT(ResourceAttributes("abc"),
              UnorderedElementsAre(Pair("service.name", "denoised"), Pair("service.version", kVersion),
                                   Pair("service.instance.id", "abc")));
}

TEST_F(ResourceTest, TheEnvironmentWins) {
  setenv("OTEL_RESOURCE_ATTRIBUTES",
         "deployment.environment.name=test%2C1, service.name=lost,service.instance.id=pod-7", 1);
  setenv("OTEL_SERVICE_NAME", "digits", 1);
  EXPECT_THAT(
      ResourceAttributes("abc"),
      UnorderedElementsAre(Pair("service.name", "digits"), Pair("service.version", kVersion),
                           Pair("service.instance.id", "pod-7"), Pair("deployment.environment.name", "test,1")));
}

TEST_F(ResourceTest, AttributesThatCannotBeReadAreIgnoredAndSaid) {
  for (const auto& [wrong, why] :
       std::vector<std::pair<std::string, std::string>>{{"secret", "pair 1 has no ="},
                                                        {"a=1,secret", "pair 2 has no ="},
                                                        {"=secret", "pair 1 has no key"},
                                                        {"a=1,b=secret%2", "the value of b has a % without XX"},
                                                        {"a=secret%zz", "the value of a has a % without XX"}}) {
    const CapturedLog log;
    setenv("OTEL_RESOURCE_ATTRIBUTES", wrong.c_str(), 1);
    EXPECT_EQ(ResourceAttributes("abc").size(), 3u);
    EXPECT_THAT(log.text(),
                HasSubstr("OTEL_RESOURCE_ATTRIBUTES is ignored: it must be key=value,key=value, but " + why));
    EXPECT_THAT(log.text(), Not(HasSubstr("secret"))) << "values are not logged";
  }
}

}  // namespace
}  // namespace denoised
