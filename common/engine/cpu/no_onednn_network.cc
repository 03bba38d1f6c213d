// In the place of the onednn_*.cc where LibTorch brings no oneDNN that this build can call.
#include "common/engine/cpu/onednn_network.h"

namespace denoised {

class OneDnnModel {};

// NOLINTBEGIN(performance-unnecessary-value-param): the declarations are those of a function that keeps its arguments.
absl::StatusOr<std::shared_ptr<const OneDnnModel>> MakeOneDnnModel(UnetWeights /*weights*/) {
  return absl::UnimplementedError("this build has no oneDNN");
}

bool HasBfloat16() { return false; }

std::unique_ptr<CpuNetwork> MakeOneDnnNetwork(std::shared_ptr<const OneDnnModel> /*model*/,
                                              const OneDnnNetworkOptions& /*options*/) {
  return nullptr;
}
// NOLINTEND(performance-unnecessary-value-param)

}  // namespace denoised
