// The file denoised.json of a checkpoint that somebody else made.
#include <string>

#include "common/model/model_metadata.h"
#include "tests/fuzz/fuzz_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace denoised;  // NOLINT(google-build-using-namespace)
  const absl::StatusOr<ModelMetadata> metadata = ParseModelMetadata(FuzzText(data, size));
  if (!metadata.ok()) {
    FUZZ_CHECK(!metadata.status().message().empty() && metadata.status().message().size() <= 1024);
    return 0;
  }
  FUZZ_CHECK(ValidateUnetConfig(metadata->unet).ok());
  const absl::StatusOr<ModelMetadata> again = ParseModelMetadata(SerializeModelMetadata(*metadata));
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(*again == *metadata);
  return 0;
}
