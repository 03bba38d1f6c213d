#include "server/http/request_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace denoised {
namespace {

using State = RequestReader::State;
using testing::StartsWith;

constexpr HttpRequestLimits kSmall = {.max_header_bytes = 256, .max_body_bytes = 16};

// Gives the bytes in pieces of so many, until the reader has heard enough; true if it took all of them.
bool Feed(RequestReader& reader, std::string_view bytes, size_t piece = 1 << 20) {
  while (!bytes.empty() && reader.state() == State::kReading) {
    const std::span<char> space = reader.Space();
    const size_t size = std::min({piece, space.size(), bytes.size()});
    std::copy_n(bytes.begin(), size, space.begin());
    reader.Received(size);
    bytes.remove_prefix(size);
  }
  return bytes.empty();
}

int RefusalOf(std::string_view bytes, size_t piece = 1 << 20) {
  RequestReader reader(kSmall);
  Feed(reader, bytes, piece);
  return reader.state() == State::kRefused ? reader.refusal().status : 0;
}

TEST(RequestReaderTest, ARequestIsTheSameInPiecesOfAnySize) {
  const std::string bytes =
      "POST /digits?count=2 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n2;note=x\r\nde\r\n0\r\nTrailer: 1\r\n\r\n";
  for (size_t piece = 1; piece <= bytes.size(); ++piece) {
    RequestReader reader({});
    EXPECT_FALSE(reader.began());
    EXPECT_TRUE(Feed(reader, bytes, piece));
    ASSERT_EQ(reader.state(), State::kComplete) << piece;
    EXPECT_TRUE(reader.began());
    EXPECT_EQ(reader.request().method, "POST");
    EXPECT_EQ(reader.request().path, "/digits");
    EXPECT_EQ(reader.request().query, "count=2");
    EXPECT_EQ(reader.request().body, "abcde");
    EXPECT_FALSE(reader.request().http_1_0);
  }
}

// Found by fuzzing: an assertion of Beast's, in builds that have them.
TEST(RequestReaderTest, ABodyOfNoChunkMayComeByteByByte) {
  const std::string bytes = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
  for (size_t piece = 1; piece <= bytes.size(); ++piece) {
    RequestReader reader({});
    EXPECT_TRUE(Feed(reader, bytes, piece));
    ASSERT_EQ(reader.state(), State::kComplete) << piece;
    EXPECT_EQ(reader.request().body, "");
  }
}

TEST(RequestReaderTest, Http10NeedsNoHost) {
  RequestReader reader({});
  Feed(reader, "GET /metrics HTTP/1.0\r\n\r\n");
  ASSERT_EQ(reader.state(), State::kComplete);
  EXPECT_TRUE(reader.request().http_1_0);
  EXPECT_EQ(reader.request().query, "");
}

TEST(RequestReaderTest, ATargetWithSchemeAndHostIsItsPath) {
  const auto path_of = [](const std::string& target) {
    RequestReader reader({});
    Feed(reader, absl::StrCat("GET ", target, " HTTP/1.1\r\nHost: x\r\n\r\n"));
    return reader.request().path + "|" + reader.request().query;
  };
  EXPECT_EQ(path_of("http://localhost:9464/metrics?a=b"), "/metrics|a=b");
  EXPECT_EQ(path_of("HTTP://localhost"), "/|");
  EXPECT_EQ(path_of("http://localhost?a"), "/|a");
  EXPECT_EQ(path_of("*"), "*|");
}

TEST(RequestReaderTest, WhatFollowsTheRequestIsNotLookedAt) {
  RequestReader reader({});
  Feed(reader, "GET /one HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03 rubbish \r\n\r\n");
  ASSERT_EQ(reader.state(), State::kComplete);
  EXPECT_EQ(reader.request().path, "/one");
}

TEST(RequestReaderTest, AHeaderIsRefusedAsSoonAsItIsTooLong) {
  const std::string line = absl::StrCat("GET / HTTP/1.1\r\nHost: ", std::string(10000, 'x'));
  for (const size_t piece : {size_t{1}, size_t{100}, line.size()}) EXPECT_EQ(RefusalOf(line, piece), 431) << piece;
  EXPECT_EQ(RefusalOf(absl::StrCat("GET /", std::string(10000, 'x'))), 431);
  EXPECT_EQ(RefusalOf(std::string(10000, 'G')), 431);
}

TEST(RequestReaderTest, ABodyIsRefusedAsSoonAsItIsTooLong) {
  RequestReader told(kSmall);
  EXPECT_TRUE(Feed(told, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n")) << "before any of it";
  ASSERT_EQ(told.state(), State::kRefused);
  EXPECT_EQ(told.refusal().status, 413);
  EXPECT_EQ(told.refusal().body, "a body may have 16 bytes at most\n");
  const std::string chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(RefusalOf(chunked + "11\r\n"), 413);
  EXPECT_EQ(RefusalOf(chunked + "9\r\nabcdefghi\r\n9\r\n"), 413);
  EXPECT_EQ(RefusalOf(chunked + "10\r\nabcdefghijklmnop\r\n0\r\n\r\n"), 0);
}

TEST(RequestReaderTest, AChunksHeaderHasALimitToo) {
  const std::string chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(RefusalOf(absl::StrCat(chunked, "1;note=", std::string(10000, 'x'))), 431);
  EXPECT_EQ(RefusalOf(absl::StrCat(chunked, "0\r\nTrailer: ", std::string(10000, 'x'))), 431);
}

TEST(RequestReaderTest, RubbishIsNoRequest) {
  RequestReader reader(kSmall);
  Feed(reader, "\x16\x03\x01\x02 a client that speaks TLS\r\n\r\n");
  ASSERT_EQ(reader.state(), State::kRefused);
  EXPECT_EQ(reader.refusal().status, 400);
  EXPECT_THAT(reader.refusal().body, StartsWith("this is no HTTP request: "));
  EXPECT_EQ(RefusalOf("GET /\r\n\r\n"), 400) << "HTTP/0.9";
  EXPECT_EQ(RefusalOf("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
  EXPECT_EQ(RefusalOf("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"), 400);
  EXPECT_EQ(RefusalOf("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"), 400);
  EXPECT_EQ(RefusalOf("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"), 400);
}

TEST(RequestReaderTest, AnotherVersionIsTold) {
  EXPECT_EQ(RefusalOf("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
  EXPECT_EQ(RefusalOf("GET / HTTP/1.9\r\n\r\n"), 505);
}

TEST(RequestReaderTest, TheUsualLimitsHoldMoreThanAnyScraperSends) {
  RequestReader reader({});
  Feed(reader, absl::StrCat("GET /metrics HTTP/1.1\r\nHost: x\r\nCookie: ", std::string(7000, 'x'), "\r\n\r\n"));
  EXPECT_EQ(reader.state(), State::kComplete);
}

}  // namespace
}  // namespace denoised
