// Bytes that a stranger sends to an HTTP port. The first two decide the sizes of the pieces in which they come.
#include <algorithm>
#include <memory>
#include <span>
#include <string_view>

#include "server/http/request_reader.h"
#include "tests/fuzz/fuzz_check.h"

namespace denoised {
namespace {

using State = RequestReader::State;

constexpr HttpRequestLimits kLimits = {.max_header_bytes = 512, .max_body_bytes = 64};

std::unique_ptr<RequestReader> Read(std::string_view bytes, size_t piece) {
  auto reader = std::make_unique<RequestReader>(kLimits);
  while (!bytes.empty() && reader->state() == State::kReading) {
    const std::span<char> space = reader->Space();
    FUZZ_CHECK(!space.empty());
    const size_t size = std::min({piece, space.size(), bytes.size()});
    std::copy_n(bytes.begin(), size, space.begin());
    reader->Received(size);
    bytes.remove_prefix(size);
  }
  return reader;
}

void CheckRequest(const HttpRequest& request) {
  FUZZ_CHECK(!request.method.empty());
  FUZZ_CHECK(request.body.size() <= kLimits.max_body_bytes);
  FUZZ_CHECK(request.method.size() + request.path.size() + request.query.size() <= kLimits.max_header_bytes);
}

void CheckRefusal(const HttpResponse& refusal) {
  const int status = refusal.status;
  FUZZ_CHECK(status == 400 || status == 413 || status == 431 || status == 505);
  FUZZ_CHECK(!refusal.body.empty() && refusal.body.size() < 200);
}

// What is wrong may be seen at once, or only at the end of the header, as the pieces fall. What is right is the same.
void CheckSame(const RequestReader& one, const RequestReader& other) {
  FUZZ_CHECK((one.state() == State::kComplete) == (other.state() == State::kComplete));
  if (one.state() != State::kComplete) return;
  FUZZ_CHECK(one.request().method == other.request().method);
  FUZZ_CHECK(one.request().path == other.request().path);
  FUZZ_CHECK(one.request().query == other.request().query);
  FUZZ_CHECK(one.request().body == other.request().body);
}

}  // namespace
}  // namespace denoised

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace denoised;  // NOLINT(google-build-using-namespace)
  std::string_view text = FuzzText(data, size);
  const size_t one_piece = size_t{1} + TakeByte(text);
  const size_t other_piece = size_t{1} + TakeByte(text);
  const auto one = Read(text, one_piece);
  if (one->state() == State::kComplete) CheckRequest(one->request());
  if (one->state() == State::kRefused) CheckRefusal(one->refusal());
  // As the pieces fall, the limit is for the request line and the headers together or each.
  const auto other = Read(text, other_piece);
  if (text.size() <= kLimits.max_header_bytes) CheckSame(*one, *other);
  return 0;
}
