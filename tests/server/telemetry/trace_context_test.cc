#include "server/telemetry/trace_context.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

// The example of the standard.
constexpr char kExample[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

TEST(TraceContextTest, ComesBack) {
  const std::optional<TraceContext> trace = ParseTraceparent(kExample);
  ASSERT_TRUE(trace.has_value());
  EXPECT_EQ(trace->trace_id, "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(trace->span_id, "b7ad6b7169203331");
  EXPECT_EQ(trace->flags, "01");
  EXPECT_EQ(FormatTraceparent(*trace), kExample);
}

TEST(TraceContextTest, LaterVersionsAreReadAsFarAsTheFirstGoes) {
  EXPECT_TRUE(ParseTraceparent("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-brings"));
  EXPECT_TRUE(ParseTraceparent("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
  EXPECT_FALSE(ParseTraceparent("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what"));
}

TEST(TraceContextTest, WhatTheStandardDoesNotAllow) {
  for (const char* text : {"", "00", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
                           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",  // longer than version 00 is
                           "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",   // capitals
                           "00-00000000000000000000000000000000-b7ad6b7169203331-01",   // no trace
                           "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",   // no span
                           "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",   // no version
                           "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",   // other dashes
                           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333\n-01"}) {
    EXPECT_FALSE(ParseTraceparent(text)) << text;
  }
}

TEST(TraceContextTest, IdsHaveSixteenDigits) {
  EXPECT_EQ(HexId(1), "0000000000000001");
  EXPECT_EQ(HexId(~uint64_t{0}), "ffffffffffffffff");
}

}  // namespace
}  // namespace denoised
