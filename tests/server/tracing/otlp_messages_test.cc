#include "server/tracing/otlp_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "tests/testing/fake_collector.h"

namespace denoised {
namespace {

using testing::Contains;
using testing::Pair;

Span TestSpan(const std::string& text) {
  return {.trace_id = "0af7651916cd43dd8448eb211c80319c",
          .span_id = "b7ad6b7169203331",
          .parent_span_id = "",
          .name = text,
          .start = std::chrono::system_clock::time_point(std::chrono::seconds(1000)),
          .end = std::chrono::system_clock::time_point(std::chrono::seconds(1001)),
          .attributes = {{"server.address", text}, {"denoised.digit", int64_t{7}}},
          .failed = true,
          .error = text};
}

// Or a collector refuses the request, and the spans of others in it.
TEST(OtlpMessagesTest, BytesThatAreNoUtf8AreQuestionMarks) {
  for (const auto& [text, shown] : std::vector<std::pair<std::string, std::string>>{
           {"", ""},
           {"plain", "plain"},
           {"\u00e9\u20ac\U0001f600", "\u00e9\u20ac\U0001f600"},
           {"\x7f\xc2\x80\u07ff\u0800\xed\x9f\xbf\ue000\uffff\U00010000\U0010ffff",
            "\x7f\xc2\x80\u07ff\u0800\xed\x9f\xbf\ue000\uffff\U00010000\U0010ffff"},
           {"/\xff", "/?"},
           {"a\x80z", "a?z"},
           {"cut \xc3", "cut ?"},                         // in the middle of a character
           {"cut \xe2\x82", "cut ??"},                    // as this
           {"\xf0\x9f\x98", "???"},                       // and this
           {"\xc3(", "?("},                               // not the rest of one
           {"\xc0\xaf \xe0\x80\xaf", "?? ???"},           // longer than need be
           {"\xed\xa0\x80 \xf4\x90\x80\x80", "??? ????"}  // a surrogate; beyond the last character
       }) {
    const ExportRequest request = MakeExportRequest({{"service.name", text}}, {TestSpan(text)});
    const auto& all = request.resource_spans(0);
    EXPECT_THAT(AttributesOf(all.resource().attributes()), Contains(Pair("service.name", shown)));
    const OtlpSpan& span = all.scope_spans(0).spans(0);
    EXPECT_EQ(span.name(), shown);
    EXPECT_EQ(span.status().message(), shown);
    EXPECT_THAT(AttributesOf(span.attributes()), Contains(Pair("server.address", shown)));
    ExportRequest parsed;
    EXPECT_TRUE(parsed.ParseFromString(request.SerializeAsString())) << shown;
  }
}

}  // namespace
}  // namespace denoised
