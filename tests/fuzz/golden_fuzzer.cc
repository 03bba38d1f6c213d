// The file golden_draw.json of a checkpoint that somebody else made.
#include <string>

#include "common/model/golden_record.h"
#include "tests/fuzz/fuzz_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace denoised;  // NOLINT(google-build-using-namespace)
  // One is enough, and a small file.
  static const std::vector<GoldenRow> rows = {GoldenRowsOf(ModelMetadata{})[0]};
  const absl::StatusOr<GoldenRecord> record = ParseGoldenRecord(rows, FuzzText(data, size));
  if (!record.ok()) {
    FUZZ_CHECK(!record.status().message().empty() && record.status().message().size() <= 1024);
    return 0;
  }
  FUZZ_CHECK(record->images.size() == rows.size());
  const absl::StatusOr<GoldenRecord> again = ParseGoldenRecord(rows, SerializeGoldenRecord(rows, *record));
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(*again == *record);
  return 0;
}
