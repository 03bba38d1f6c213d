// A pair of IDX files in place of MNIST's. The first byte says which of the two are gzipped, the next two how long the
// first is.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "tests/fuzz/fuzz_check.h"
#include "tests/testing/temp_folder.h"
#include "trainer/data/mnist.h"

namespace denoised {
namespace {

void Put(const TempFolder& folder, const std::string& name, bool gzipped, std::string_view bytes) {
  folder.Write(gzipped ? name + ".gz" : name, bytes);
  std::filesystem::remove(folder.File(gzipped ? name : name + ".gz"));
}

}  // namespace
}  // namespace denoised

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace denoised;  // NOLINT(google-build-using-namespace)
  static const TempFolder folder;
  std::string_view text = FuzzText(data, size);
  const uint8_t gzipped = TakeByte(text);
  const size_t low = TakeByte(text);
  const size_t images = std::min(low + 256 * TakeByte(text), text.size());
  Put(folder, "train-images-idx3-ubyte", (gzipped & 1) != 0, text.substr(0, images));
  Put(folder, "train-labels-idx1-ubyte", (gzipped & 2) != 0, text.substr(images));
  const absl::StatusOr<Dataset> dataset = LoadMnist(folder.path(), Split::kTrain, {.verify_checksums = false});
  if (!dataset.ok()) {
    FUZZ_CHECK(!dataset.status().message().empty() && dataset.status().message().size() <= 1024);
    return 0;
  }
  FUZZ_CHECK(dataset->size() > 0);
  FUZZ_CHECK(dataset->pixels.size() == dataset->size() * 32 * 32);
  for (const uint8_t label : dataset->labels) FUZZ_CHECK(label <= 9);
  return 0;
}
