// File: http2.h
//
// HTTP/2 as bytes, for tests that send what no library would: RFC 9113 for frames, RFC 7541 for header blocks.
//
//   RawConnection connection(port);
//   connection.Send(http2::Preface());
//   connection.Send(http2::Headers(1, http2::CallHeaders("/denoised.v1.DigitService/GetModel")));
//   connection.Send(http2::Data(1, http2::Message("")));
//   const std::vector<http2::Frame> answer = http2::FrameReader(connection).Stream(1);
#ifndef DENOISED_TESTS_TESTING_HTTP2_H_
#define DENOISED_TESTS_TESTING_HTTP2_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/testing/raw_connection.h"

namespace denoised::http2 {

enum FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kRstStream = 3,
  kSettings = 4,
  kPing = 6,
  kGoaway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};
enum Flag : uint8_t { kNone = 0, kAck = 1, kEndStream = 1, kEndHeaders = 4 };

struct Frame {
  uint8_t type = 0;
  uint8_t flags = 0;
  uint32_t stream = 0;
  std::string payload{};
};

inline std::string BigEndian(uint64_t value, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}

inline std::string FrameBytes(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload) {
  return BigEndian(payload.size(), 3) + BigEndian(type, 1) + BigEndian(flags, 1) + BigEndian(stream, 4) +
         std::string(payload);
}

inline std::string Preface() { return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + FrameBytes(kSettings, kNone, 0, ""); }

inline std::string Headers(uint32_t stream, std::string_view block, uint8_t flags = kEndHeaders) {
  return FrameBytes(kHeaders, flags, stream, block);
}
inline std::string Data(uint32_t stream, std::string_view payload) {
  return FrameBytes(kData, kEndStream, stream, payload);
}
inline std::string WindowUpdate(uint32_t stream, uint32_t bytes) {
  return FrameBytes(kWindowUpdate, kNone, stream, BigEndian(bytes, 4));
}
inline std::string Reset(uint32_t stream) { return FrameBytes(kRstStream, kNone, stream, BigEndian(8, 4)); }  // CANCEL

// gRPC's framing of one message.
inline std::string Message(std::string_view bytes) {
  return std::string(1, '\0') + BigEndian(bytes.size(), 4) + std::string(bytes);
}

// HPACK's integers and strings, without Huffman's code.
inline std::string Integer(uint64_t value, int prefix_bits, uint8_t first) {
  const uint64_t limit = (1u << prefix_bits) - 1;
  if (value < limit) return std::string(1, static_cast<char>(first | value));
  std::string out(1, static_cast<char>(first | limit));
  for (value -= limit; value >= 128; value >>= 7) out.push_back(static_cast<char>(value % 128 + 128));
  out.push_back(static_cast<char>(value));
  return out;
}
inline std::string Text(std::string_view text) { return Integer(text.size(), 7, 0) + std::string(text); }

// A header that the table is not to keep, and one that it is.
inline std::string Literal(std::string_view name, std::string_view value) {
  return std::string(1, '\0') + Text(name) + Text(value);
}
inline std::string Kept(std::string_view name, std::string_view value) { return "\x40" + Text(name) + Text(value); }
// One from the table: 62 is what was kept last.
inline std::string Indexed(uint64_t index) { return Integer(index, 7, 0x80); }

inline std::string CallHeaders(std::string_view path) {
  return Literal(":method", "POST") + Literal(":scheme", "http") + Literal(":path", path) +
         Literal(":authority", "localhost") + Literal("te", "trailers") + Literal("content-type", "application/grpc");
}

// The next frame; one of type 255 when the other side closes instead.
class FrameReader {
 public:
  explicit FrameReader(const RawConnection& connection) : connection_(connection) {}

  Frame Next() {
    constexpr size_t kHeadBytes = 9;
    if (!Fill(kHeadBytes)) return {.type = 255};
    const auto byte = [this](size_t i) { return static_cast<unsigned char>(buffer_[i]); };
    const size_t size = size_t{byte(0)} << 16 | size_t{byte(1)} << 8 | byte(2);
    Frame frame{.type = byte(3),
                .flags = byte(4),
                .stream = uint32_t{byte(5)} << 24 | uint32_t{byte(6)} << 16 | uint32_t{byte(7)} << 8 | byte(8)};
    if (!Fill(kHeadBytes + size)) return {.type = 255};
    frame.payload = buffer_.substr(kHeadBytes, size);
    buffer_.erase(0, kHeadBytes + size);
    return frame;
  }

  // Whether a frame of this type comes; those before it are lost. Pings and settings are answered.
  bool Await(uint8_t type) {
    for (Frame frame = Next(); frame.type != 255; frame = Next()) {
      Answer(frame);
      if (frame.type == type) return true;
    }
    return false;
  }

  // The frames of a stream until its last; empty when the connection ended before. Pings and settings are answered.
  std::vector<Frame> Stream(uint32_t stream) {
    std::vector<Frame> frames;
    while (true) {
      const Frame frame = Next();
      if (frame.type == 255) return {};
      Answer(frame);
      if (frame.stream != stream || frame.type == kWindowUpdate) continue;
      frames.push_back(frame);
      const bool last = frame.type == kRstStream || (frame.flags & kEndStream) != 0;
      if (last) return frames;
    }
  }

 private:
  void Answer(const Frame& frame) const {
    if ((frame.flags & kAck) != 0) return;
    if (frame.type == kSettings) connection_.Send(FrameBytes(kSettings, kAck, 0, ""));
    if (frame.type == kPing) connection_.Send(FrameBytes(kPing, kAck, 0, frame.payload));
  }

  bool Fill(size_t size) {
    while (buffer_.size() < size) {
      const std::string more = connection_.Receive();
      if (more.empty()) return false;
      buffer_ += more;
    }
    return true;
  }

  const RawConnection& connection_;
  std::string buffer_;
};

}  // namespace denoised::http2

#endif  // DENOISED_TESTS_TESTING_HTTP2_H_
