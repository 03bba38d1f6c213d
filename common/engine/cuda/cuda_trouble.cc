#include "common/engine/cuda/cuda_trouble.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace denoised {
namespace {

std::string VersionText(int version) { return absl::StrFormat("%d.%d", version / 1000, version % 1000 / 10); }

}  // namespace

std::string DescribeTrouble(const CudaFacts& facts) {
  const bool hinted = facts.has_device_file || facts.devices > 0;
  if (!hinted) return "";
  if (!facts.has_kernel) {
    return "an NVIDIA GPU seems to be here, but this build of denoised was made without the CUDA Toolkit";
  }
  if (facts.driver_version == 0) {
    return absl::StrCat(
        "an NVIDIA GPU seems to be here, but no driver library is; in a container, run it with the nvidia runtime",
        facts.error.empty() ? "" : absl::StrCat(" (CUDA says: ", facts.error, ")"));
  }
  const std::string versions = absl::StrCat("the driver is for CUDA ", VersionText(facts.driver_version),
                                            ", this build for ", VersionText(facts.runtime_version));
  if (facts.driver_version / 1000 < facts.runtime_version / 1000) {
    return absl::StrCat(versions, "; update the driver, or use a build made with CUDA ", facts.driver_version / 1000,
                        facts.error.empty() ? "" : absl::StrCat(" (CUDA says: ", facts.error, ")"));
  }
  if (facts.devices == 0) {
    return absl::StrCat("CUDA finds no GPU that it can use: ", facts.error.empty() ? "it gives no reason" : facts.error,
                        " (", versions, ")");
  }
  if (facts.major < kOldestCudaMajor) {
    return absl::StrFormat("%s is of compute capability %d.%d, and the kernel needs %d.0 or later", facts.name,
                           facts.major, facts.minor, kOldestCudaMajor);
  }
  return "";
}

}  // namespace denoised
