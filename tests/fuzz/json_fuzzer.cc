// What strangers send to the page's port, as a body of JSON or as an address. The first byte chooses; of an address,
// the picture's name ends at the first question mark.
#include <string>

#include "denoised/v1/digit_service.pb.h"
#include "server/gateway/digit_query.h"
#include "tests/fuzz/fuzz_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace denoised;  // NOLINT(google-build-using-namespace)
  std::string_view text = FuzzText(data, size);
  const bool is_body = TakeByte(text) % 2 == 0;
  const size_t end = text.find('?');
  const absl::StatusOr<v1::GenerateDigitRequest> request =
      is_body ? ParseDigitBody(std::string(text))
              : ParseDigitQuery(std::string(text.substr(0, end)),
                                end == std::string_view::npos ? "" : std::string(text.substr(end + 1)));
  if (!request.ok()) {
    FUZZ_CHECK(request.status().code() == absl::StatusCode::kInvalidArgument);
    FUZZ_CHECK(!request.status().message().empty() && request.status().message().size() <= 2048);
    return 0;
  }
  v1::GenerateDigitRequest again;
  FUZZ_CHECK(again.ParseFromString(request->SerializeAsString()));
  return 0;
}
