// File: onednn_network.h
//
// The U-Nets of unet.h run by oneDNN, the library behind LibTorch's own convolutions on the CPU, without LibTorch in
// between: a network this small would spend more time on LibTorch's way to each convolution than inside it.
//
//   absl::StatusOr<std::shared_ptr<const OneDnnModel>> model = MakeOneDnnModel(std::move(weights));
//   std::unique_ptr<CpuNetwork> network = MakeOneDnnNetwork(*model, {.max_rows = 16, .threads = 1});
//
// Activations are [rows, H, W, C], channels last. A row's output does not depend on the rows beside it as far as
// oneDNN's convolutions promise that, which the engine checks.
#ifndef DENOISED_COMMON_ENGINE_CPU_ONEDNN_NETWORK_H_
#define DENOISED_COMMON_ENGINE_CPU_ONEDNN_NETWORK_H_

#include <memory>

#include "absl/status/statusor.h"
#include "common/engine/cpu/cpu_network.h"
#include "common/model/precision.h"
#include "common/weights/unet_weights.h"

namespace denoised {

// The weights, shared by all networks. Thread-safe.
class OneDnnModel;

// UNIMPLEMENTED, saying why, for what this path cannot run: sizes whose channels are not multiples of 16, or a build
// without oneDNN. LibTorch runs those.
absl::StatusOr<std::shared_ptr<const OneDnnModel>> MakeOneDnnModel(UnetWeights weights);

struct OneDnnNetworkOptions {
  int max_rows = 1;  // most rows of a call
  int threads = 1;   // that share each call, of an OpenMP team of the calling thread
  // kFp32, or kBf16 for all convolutions but the first and the last, which see pixels and noise.
  Precision precision = Precision::kFp32;
};

// Whether the processor has instructions for products of bfloat16 numbers (AVX512_BF16) and oneDNN uses them.
bool HasBfloat16();

// For calls of options.max_rows rows at most. Throws dnnl::error where oneDNN cannot be used.
std::unique_ptr<CpuNetwork> MakeOneDnnNetwork(std::shared_ptr<const OneDnnModel> model,
                                              const OneDnnNetworkOptions& options);

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_CPU_ONEDNN_NETWORK_H_
