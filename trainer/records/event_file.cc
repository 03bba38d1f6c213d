#include "trainer/records/event_file.h"

#include <bit>
#include <optional>

#include "trainer/records/crc32c.h"

namespace denoised {
namespace {

// Numbers of fields.
constexpr int kEventWallTime = 1, kEventStep = 2, kEventFileVersion = 3, kEventSummary = 5;
constexpr int kSummaryValue = 1, kValueTag = 1, kValueSimpleValue = 2;

// Wire types of Protobuf.
constexpr int kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

constexpr size_t kHeadBytes = 12, kFootBytes = 4;  // of a TFRecord

void AppendLittleEndian(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
}

uint64_t LittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) value |= uint64_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  return value;
}

void AppendVarint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void AppendKey(std::string& out, int field, int wire_type) {
  AppendVarint(out, static_cast<uint64_t>(field << 3 | wire_type));
}

void AppendBytes(std::string& out, int field, std::string_view bytes) {
  AppendKey(out, field, kBytes);
  AppendVarint(out, bytes.size());
  out += bytes;
}

std::string WallTime(double seconds) {
  std::string out;
  AppendKey(out, kEventWallTime, kFixed64);
  AppendLittleEndian(out, std::bit_cast<uint64_t>(seconds), 8);
  return out;
}

// Checksums of data that hold checksums themselves are masked.
uint32_t MaskedCrc(std::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

std::string Record(const std::string& data) {
  std::string record;
  AppendLittleEndian(record, data.size(), 8);
  AppendLittleEndian(record, MaskedCrc(record), 4);
  record += data;
  AppendLittleEndian(record, MaskedCrc(data), 4);
  return record;
}

// The data of the record that a file begins with, if it is whole.
std::optional<std::string_view> FirstRecord(std::string_view file) {
  if (file.size() < kHeadBytes || LittleEndian(file.substr(8, 4)) != MaskedCrc(file.substr(0, 8))) return std::nullopt;
  const uint64_t size = LittleEndian(file.substr(0, 8));
  if (file.size() - kHeadBytes < kFootBytes || size > file.size() - kHeadBytes - kFootBytes) return std::nullopt;
  const std::string_view data = file.substr(kHeadBytes, size);
  if (LittleEndian(file.substr(kHeadBytes + size, kFootBytes)) != MaskedCrc(data)) return std::nullopt;
  return data;
}

// As these functions write events: a wall time, and then the step, if any.
int64_t StepOf(std::string_view data) {
  constexpr size_t kStepAt = 1 + 8;
  if (data.size() <= kStepAt || data[kStepAt] != (kEventStep << 3 | kVarint)) return 0;
  uint64_t step = 0;
  int shift = 0;
  for (size_t i = kStepAt + 1; i < data.size() && shift < 64; ++i, shift += 7) {
    step |= uint64_t{static_cast<uint8_t>(data[i]) & 0x7fu} << shift;
    if ((data[i] & 0x80) == 0) break;
  }
  return static_cast<int64_t>(step);
}

}  // namespace

std::string FirstEvent(double wall_time) {
  std::string event = WallTime(wall_time);
  AppendBytes(event, kEventFileVersion, "brain.Event:2");
  return Record(event);
}

std::string ScalarEvent(const Event& event) {
  std::string summary;
  for (const auto& [name, scalar] : event.scalars) {
    std::string value;
    AppendBytes(value, kValueTag, name);
    AppendKey(value, kValueSimpleValue, kFixed32);
    AppendLittleEndian(value, std::bit_cast<uint32_t>(scalar), 4);
    AppendBytes(summary, kSummaryValue, value);
  }
  std::string data = WallTime(event.wall_time);
  AppendKey(data, kEventStep, kVarint);
  AppendVarint(data, static_cast<uint64_t>(event.step));
  AppendBytes(data, kEventSummary, summary);
  return Record(data);
}

size_t BytesUpToStep(std::string_view file, int64_t last_step) {
  size_t whole = 0;
  while (const std::optional<std::string_view> data = FirstRecord(file.substr(whole))) {
    if (StepOf(*data) > last_step) break;
    whole += kHeadBytes + data->size() + kFootBytes;
  }
  return whole;
}

}  // namespace denoised
