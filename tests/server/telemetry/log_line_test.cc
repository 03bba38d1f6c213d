#include "server/telemetry/log_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/testing/captured_log.h"

namespace denoised {
namespace {

using testing::EndsWith;
using testing::MatchesRegex;

const LogFields kFields = {{"peer", "192.0.2.7:40000"}, {"steps", 1000}, {"request_id", "r1"}};

std::string Logged(LogFormat format, const std::string& message, const LogFields& fields) {
  const CapturedLog log(format);
  LogLine(spdlog::level::warn, message, fields);
  return log.text();
}

TEST(LogLineTest, TextShowsWhoCalled) {
  EXPECT_THAT(Logged(LogFormat::kText, "drew 1", kFields),
              MatchesRegex("....-..-..T..:..:..\\....[-+]..:.. warning drew 1 peer=192.0.2.7:40000 request_id=r1\n"));
}

TEST(LogLineTest, JsonHasEverything) {
  const std::string line = Logged(LogFormat::kJson, "drew \"1\"", kFields);
  EXPECT_THAT(line, EndsWith("}\n"));
  const LogFields json = LogFields::parse(line);
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, json["time"].get<std::string>(), &time, &error)) << error;
  EXPECT_LT(absl::AbsDuration(absl::Now() - time), absl::Minutes(5));
  EXPECT_EQ(json["level"], "warning");
  EXPECT_EQ(json["message"], "drew \"1\"");
  EXPECT_EQ(json["steps"], 1000);
  EXPECT_EQ(json["peer"], "192.0.2.7:40000");
}

TEST(LogLineTest, WhatComesFromElsewhereCannotMakeLinesOrFields) {
  for (const std::string message : {"a\nb", "a\x1f{\"level\":\"critical\"}", "a\x1b[31m"}) {
    for (const LogFields& fields : {kFields, LogFields(LogFields::object())}) {
      const LogFields json = LogFields::parse(Logged(LogFormat::kJson, message, fields));
      EXPECT_EQ(json["level"], "warning");
      EXPECT_EQ(std::string(json["message"]).find_first_of("\n\x1f\x1b"), std::string::npos);
    }
  }
}

TEST(LogLineTest, FieldsThatComeFromElsewhereCannotMakeLinesInTexts) {
  EXPECT_THAT(Logged(LogFormat::kText, "drew 1", {{"client", "certificate:a\nb\x1b[31m"}}),
              EndsWith(" warning drew 1 client=certificate:a?b?[31m\n"));
}

TEST(LogLineTest, WhatIsNoUtf8IsReplaced) {
  const LogFields json = LogFields::parse(Logged(LogFormat::kJson, "a\xff", {{"peer", "\xfe"}}));
  EXPECT_EQ(json["message"], "a\xEF\xBF\xBD");
}

TEST(LogLineTest, OrdinaryLinesHaveNoFields) {
  const CapturedLog log(LogFormat::kJson);
  spdlog::info("loading {}", "m.pt");
  const LogFields json = LogFields::parse(log.text());
  EXPECT_EQ(json["message"], "loading m.pt");
  EXPECT_EQ(json.size(), 3u);
}

}  // namespace
}  // namespace denoised
