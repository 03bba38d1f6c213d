// Frames without end on a connection to the gRPC port: what no client's library sends. Each flood ends soon, takes no
// more memory than is stated here, and others are served meanwhile. docs/threat_model.md has the table.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/server/puppet_server.h"
#include "tests/testing/captured_log.h"
#include "tests/testing/generic_call.h"
#include "tests/testing/http2.h"
#include "tests/testing/process_figures.h"
#include "tests/testing/raw_connection.h"

namespace denoised {
namespace {

using testing::HasSubstr;

constexpr char kGetModel[] = "/denoised.v1.DigitService/GetModel";
constexpr char kGenerateDigit[] = "/denoised.v1.DigitService/GenerateDigit";
constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kNoEnd = 256 * kMiB;  // a flood that is not ended before
constexpr int64_t kMostMemory = 128 * kMiB;
constexpr int64_t kPartBytes = 64 << 10;
// After each part: as much as a network of 1 Gbit/s brings. What comes between two looks of the server counts as well.
constexpr std::chrono::microseconds kPause(500);

// AddressSanitizer keeps what is freed: no word on memory then. GCC says that it is there, Clang when asked.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kKeepsWhatIsFreed = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool kKeepsWhatIsFreed = true;
#else
constexpr bool kKeepsWhatIsFreed = false;
#endif
#else
constexpr bool kKeepsWhatIsFreed = false;
#endif

int64_t ResidentBytes() { return FiguresOf(getpid()).resident_kib << 10; }

void ExpectLittleMemory(int64_t grown) {
  if (kKeepsWhatIsFreed) return;
  EXPECT_LT(grown, kMostMemory);
}

std::string Repeat(const std::string& bytes, int64_t size) {
  std::string all;
  while (static_cast<int64_t>(all.size()) < size) all += bytes;
  return all;
}

grpc::ChannelArguments OwnConnection() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return arguments;
}

std::string Gzip(const std::string& bytes) {
  z_stream stream{};
  constexpr int kGzip = 16;
  deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, MAX_WBITS + kGzip, /*memLevel=*/9, Z_DEFAULT_STRATEGY);
  std::string packed(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::string InitialWindow(uint32_t bytes) {
  constexpr uint16_t kSettingsInitialWindowSize = 4;
  return http2::FrameBytes(http2::kSettings, http2::kNone, 0,
                           http2::BigEndian(kSettingsInitialWindowSize, 2) + http2::BigEndian(bytes, 4));
}

class FloodTest : public PuppetServer {
 protected:
  FloodTest() : PuppetServer(/*slots=*/4, /*max_queued_images=*/100) {
    keeps_batches_ = false;
    options_.write_timeout_seconds = 1;
    Start();
    EXPECT_TRUE(Draw().ok());  // what the first call takes is not the flood's
  }

  grpc::Status Draw() { return Generate(Request(7, 5)).status; }

  struct Flood {
    int64_t bytes = 0;   // that went out before the connection's end
    int64_t memory = 0;  // by which the process grew at most
  };

  // `first`, then `again` and again, until the server ends the connection.
  Flood Send(const std::string& first, const std::string& again, bool read_answers = false) {
    const std::string part = Repeat(again, kPartBytes);
    return Send(
        first, [&part](uint32_t) { return part; }, read_answers);
  }

  // The same, also if the server takes nothing for a second, with parts of about kPartBytes, numbered from 0.
  Flood Send(const std::string& first, const std::function<std::string(uint32_t)>& part, bool read_answers = false) {
    malloc_trim(0);
    const int64_t before = ResidentBytes();
    const RawConnection connection(server_->port());
    const timeval patience{.tv_sec = 1, .tv_usec = 0};
    setsockopt(connection.descriptor(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    std::thread reader;
    if (read_answers) reader = std::thread([&connection] { connection.ReceiveAll(); });
    Flood flood;
    bool open = connection.Send(http2::Preface() + first);
    for (uint32_t i = 0; open && flood.bytes < kNoEnd; ++i) {
      open = connection.Send(part(i));
      std::this_thread::sleep_for(kPause);
      flood.bytes += kPartBytes;
      flood.memory = std::max(flood.memory, ResidentBytes() - before);
      if (i == 8) {
        EXPECT_TRUE(Draw().ok()) << "in the middle of it";
      }
    }
    shutdown(connection.descriptor(), SHUT_RDWR);
    if (reader.joinable()) reader.join();
    EXPECT_TRUE(Draw().ok()) << "after it";
    return flood;
  }

  static void ExpectEnded(const Flood& flood) {
    EXPECT_LT(flood.bytes, kNoEnd) << "nothing ended it";
    ExpectLittleMemory(flood.memory);
  }
};

TEST_F(FloodTest, PingsWhoseAnswersNobodyReads) {
  ExpectEnded(Send("", http2::FrameBytes(http2::kPing, http2::kNone, 0, "12345678")));
}

// By the limit, or by the system where its buffers are small.
TEST_F(FloodTest, SettingsWhoseAnswersNobodyReads) {
  ExpectEnded(Send("", http2::FrameBytes(http2::kSettings, http2::kNone, 0, "")));
}

// With a call now and then, as if they came with that: gRPC stops reading when ten thousand answers wait, and the
// system ends the connection in a minute.
TEST_F(FloodTest, SettingsAmongCallsWhoseAnswersNobodyReads) {
  const std::string settings = Repeat(http2::FrameBytes(http2::kSettings, http2::kNone, 0, ""), kPartBytes);
  const Flood flood = Send("", [&settings](uint32_t i) {
    const uint32_t stream = 2 * i + 1;
    return settings + http2::Headers(stream, http2::CallHeaders(kGetModel)) + http2::Data(stream, http2::Message(""));
  });
  ExpectEnded(flood);
}

TEST_F(FloodTest, PingsWhoseAnswersAreRead) {
  ExpectEnded(Send("", http2::FrameBytes(http2::kPing, http2::kNone, 0, "12345678"), /*read_answers=*/true));
}

TEST_F(FloodTest, ContinuationsWithoutEnd) {
  const CapturedLog log;
  const std::string more = http2::Literal("x-more", std::string(16'000, 'a'));
  ExpectEnded(Send(http2::Headers(1, http2::CallHeaders(kGetModel), http2::kNone),
                   http2::FrameBytes(http2::kContinuation, http2::kNone, 1, more)));
  EXPECT_EQ(Metric("denoised_connections_cut_total"), "1");
  EXPECT_THAT(log.text(), HasSubstr(" bytes beyond what its calls may have, of "));
}

TEST_F(FloodTest, EmptyContinuations) {
  ExpectEnded(Send(http2::Headers(1, http2::CallHeaders(kGetModel), http2::kNone),
                   http2::FrameBytes(http2::kContinuation, http2::kNone, 1, "")));
}

// The length of a header whose number never ends.
TEST_F(FloodTest, LengthsWithoutEnd) {
  const std::string length(16'000, '\x80');
  ExpectEnded(Send(http2::Headers(1, http2::CallHeaders(kGetModel) + std::string(1, '\0') + "\x7f", http2::kNone),
                   http2::FrameBytes(http2::kContinuation, http2::kNone, 1, length)));
}

TEST_F(FloodTest, EmptyData) {
  ExpectEnded(
      Send(http2::Headers(1, http2::CallHeaders(kGetModel)), http2::FrameBytes(http2::kData, http2::kNone, 1, "")));
}

TEST_F(FloodTest, UpdatesOfWindows) {
  ExpectEnded(Send(http2::Headers(1, http2::CallHeaders(kGetModel)),
                   http2::FrameBytes(http2::kWindowUpdate, http2::kNone, 1, http2::BigEndian(1, 4))));
}

TEST_F(FloodTest, FramesOfUnknownKinds) {
  constexpr uint8_t kPriority = 2;
  ExpectEnded(Send("", http2::FrameBytes(kPriority, http2::kNone, 1, std::string(5, '\0'))));
}

// Of a client that has not acknowledged the limit, gRPC 1.51 takes 16 MiB of them for each call. Small calls beside it
// make it no flood.
TEST_F(FloodTest, MetadataOfAClientThatAcknowledgesNothing) {
  const CapturedLog log;
  uint32_t stream = 1;
  ExpectEnded(Send(
      "",
      [&stream](uint32_t) {
        std::string part;
        for (int i = 0; i < 4; ++i, stream += 2) {
          part += http2::Headers(stream, http2::CallHeaders(kGetModel)) + http2::Data(stream, http2::Message(""));
        }
        part += http2::Headers(stream, http2::CallHeaders(kGetModel), http2::kNone);
        const std::string more = http2::Literal("x-more", std::string(300'000, 'a'));
        for (size_t at = 0; at < more.size(); at += 16'000) {
          const bool last = at + 16'000 >= more.size();
          part += http2::FrameBytes(http2::kContinuation, last ? http2::kEndHeaders : http2::kNone, stream,
                                    more.substr(at, 16'000));
        }
        stream += 2;
        return part;
      },
      /*read_answers=*/true));
  EXPECT_THAT(log.text(), HasSubstr(" bytes while requests of it were not whole"));
}

// A header that the table keeps, and then a byte for each time that it comes again, in calls that never end. Before the
// server has looked at it, a flood has taken some.
TEST_F(FloodTest, TableOfHeadersThatIsReferredToAgainAndAgain) {
  constexpr size_t kTimes = 60'000;
  const Flood flood = Send(
      "",
      [](uint32_t i) {
        const std::string block = http2::CallHeaders(kGetModel) +
                                  (i == 0 ? http2::Kept("x-k", std::string(100, 'v')) : "") +
                                  std::string(kTimes, http2::Indexed(62)[0]);
        std::string part;
        for (size_t at = 0; at < block.size(); at += 16'000) {
          const uint8_t flags = at + 16'000 >= block.size() ? http2::kEndHeaders : http2::kNone;
          part += http2::FrameBytes(at == 0 ? http2::kHeaders : http2::kContinuation, flags, 2 * i + 1,
                                    block.substr(at, 16'000));
        }
        return part;
      },
      /*read_answers=*/true);
  EXPECT_LT(flood.bytes, kNoEnd);
  if (kKeepsWhatIsFreed) return;
  EXPECT_LT(flood.memory, 5 * kMostMemory);
}

// Answers that may not be sent, as the client gives them no room: they count as open calls, and those that draw end
// with their reader's allowance.
TEST_F(FloodTest, ClientsThatGiveNoRoomAreServedNothing) {
  const v1::GenerateDigitRequest request = Request(7);
  const RawConnection connection(server_->port());
  connection.Send(http2::Preface() + InitialWindow(0));
  malloc_trim(0);
  const int64_t before = ResidentBytes();
  constexpr uint32_t kCalls = 1000;
  for (uint32_t i = 0; i < kCalls; ++i) {
    const bool draws = i < 50;
    const uint32_t stream = 2 * i + 1;
    connection.Send(http2::Headers(stream, http2::CallHeaders(draws ? kGenerateDigit : kGetModel)) +
                    http2::Data(stream, http2::Message(draws ? request.SerializeAsString() : "")));
  }
  EXPECT_TRUE(Draw().ok());
  AwaitMetric("denoised_wasted_steps_total{reason=\"slow_reader\"}", "50");
  AwaitMetric("denoised_requests_in_flight", "0");
  ExpectLittleMemory(ResidentBytes() - before);
  EXPECT_TRUE(Draw().ok());
}

// gRPC 1.51 keeps a message of any length until it is whole; as bytes that come with many calls, it is no flood.
class LongMessageTest : public PuppetServer {
 protected:
  LongMessageTest() : PuppetServer(/*slots=*/4, /*max_queued_images=*/100) {
    options_.transport.max_flood_bytes = options_.transport.max_flood_bytes_of_all = kNoEnd * 8;
    options_.transport.max_unheard_bytes = options_.transport.max_unheard_bytes_of_all = kNoEnd * 8;
    options_.transport.memory_bytes = 32 * kMiB;
    Start();
  }
};

TEST_F(LongMessageTest, IsNotKeptInMemory) {
  EXPECT_TRUE(Generate(Request(7)).status.ok());
  malloc_trim(0);
  const int64_t before = ResidentBytes();
  int64_t most = 0;
  grpc::Status status;
  std::atomic<bool> over = false;
  std::thread sender([this, &status, &over] {
    const grpc::Slice part(std::string(kPartBytes, 'a'));
    const std::vector<grpc::Slice> parts(kNoEnd / kPartBytes, part);  // which share its memory
    const auto channel = grpc::CreateCustomChannel(address(), grpc::InsecureChannelCredentials(), OwnConnection());
    status = CallOver(channel, {}, kGetModel, grpc::ByteBuffer(parts.data(), parts.size()));
    over = true;
  });
  while (!over) {
    most = std::max(most, ResidentBytes() - before);
    std::this_thread::yield();
  }
  sender.join();
  EXPECT_FALSE(status.ok());
  ExpectLittleMemory(most);
  EXPECT_TRUE(Generate(Request(7)).status.ok());
}

// A packed message of 200 kB that is 200 MiB: gRPC 1.51 would unpack it before it compares it with its limit.
TEST_F(FloodTest, PackedRequestsAreNotUnpacked) {
  const std::string bomb = Gzip(std::string(200 * kMiB, '\0'));
  malloc_trim(0);
  const int64_t before = ResidentBytes();
  const RawConnection connection(server_->port());
  connection.Send(http2::Preface());
  http2::FrameReader frames(connection);
  while (frames.Next().type != http2::kSettings) continue;
  connection.Send(http2::FrameBytes(http2::kSettings, http2::kAck, 0, ""));
  const std::string message = "\1" + http2::Message(bomb).substr(1);
  std::string call = http2::Headers(1, http2::CallHeaders(kGetModel) + http2::Literal("grpc-encoding", "gzip"));
  for (size_t at = 0; at < message.size(); at += 16'000) {
    const bool last = at + 16'000 >= message.size();
    call += http2::FrameBytes(http2::kData, last ? http2::kEndStream : http2::kNone, 1, message.substr(at, 16'000));
  }
  std::atomic<bool> over = false;
  int64_t most = 0;
  std::thread watch([&] {
    while (!over) most = std::max(most, ResidentBytes() - before);
  });
  connection.Send(call);
  std::string answer;
  for (const http2::Frame& frame : frames.Stream(1)) answer += frame.payload;
  over = true;
  watch.join();
  ExpectLittleMemory(most);
  EXPECT_THAT(answer, HasSubstr("Compression algorithm 'gzip' is disabled"));
  EXPECT_TRUE(Draw().ok());
}

TEST_F(FloodTest, ClientsThatPackAreToldThatTheyMayNot) {
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::GenerateDigitRequest request;
  request.set_class_name(std::string(1000, 'a'));
  const grpc::Status status = Generate(context, request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(status.error_message(), HasSubstr("Compression algorithm 'gzip' is disabled"));
}

class NarrowFloodTest : public PuppetServer {
 protected:
  NarrowFloodTest() : PuppetServer(/*slots=*/4, /*max_queued_images=*/100) {
    options_.transport.max_flood_bytes = 16384;
    Start();
  }
};

// More comes than goes, but it is calls.
TEST_F(NarrowFloodTest, CallsWithMuchMetadataAreNone) {
  for (int i = 0; i < 200; ++i) {
    grpc::ClientContext context;
    context.AddMetadata("x-token", absl::StrCat(i) + std::string(6000, 'a'));  // another one each time
    v1::GetModelResponse response;
    ASSERT_TRUE(stub_->GetModel(&context, {}, &response).ok());
    if (i % 50 == 0) std::this_thread::sleep_for(2 * kFloodPeriod);  // for a look at it
  }
  EXPECT_EQ(Metric("denoised_connections_cut_total"), "0");
}

}  // namespace
}  // namespace denoised
