// A checkpoint that somebody else made, as the ZIP file that it is: its records, then all that a server without
// LibTorch reads of it.
#include <string>

#include "common/weights/archive.h"
#include "common/weights/plain_checkpoint.h"
#include "tests/fuzz/fuzz_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace denoised;  // NOLINT(google-build-using-namespace)
  constexpr size_t kMaxBytes = 1000;
  const std::string_view bytes = FuzzText(data, size);
  if (const absl::StatusOr<Archive> archive = Archive::Open(bytes); archive.ok()) {
    for (const char* record : {"extra/denoised.json", "data/0", "", "../data/0"}) {
      const absl::StatusOr<std::string> read = archive->Read(record, kMaxBytes);
      FUZZ_CHECK(read.ok() ? archive->Has(record) && read->size() <= kMaxBytes : !read.status().message().empty());
    }
  }
  const absl::StatusOr<PlainCheckpoint> checkpoint = ParsePlainCheckpoint("file.pt", bytes);
  FUZZ_CHECK(checkpoint.ok() ||
             (!checkpoint.status().message().empty() && checkpoint.status().message().size() <= 2048));
  return 0;
}
