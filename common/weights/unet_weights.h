// File: unet_weights.h
//
// A checkpoint's network as plain memory, for what runs it without LibTorch.
//
//   absl::StatusOr<UnetWeights> weights = MakeUnetWeights(metadata.unet, tensors, /*num_train_timesteps=*/1000);
//
// Functions are pure and thread-safe.
#ifndef DENOISED_COMMON_WEIGHTS_UNET_WEIGHTS_H_
#define DENOISED_COMMON_WEIGHTS_UNET_WEIGHTS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/model/model_metadata.h"

namespace denoised {

// Values in row-major order.
struct HostTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;

  friend bool operator==(const HostTensor&, const HostTensor&) = default;
};

// By their names in the TorchScript module, which are those of unet_parameters.h.
using HostTensors = std::map<std::string, HostTensor>;

struct UnetWeights {
  UnetConfig config;
  int num_train_timesteps = 0;  // T
  HostTensors tensors;
  // All that the network makes of timestep and label [num_labels, T, width], in the place of the layers that embed
  // them.
  //   compact: for each residual block in the order of the forward pass, scale [C] then shift [C] of what its second
  //            normalisation gives without weight and bias; those and the block's own scale and shift are one.
  //   seed:    what is added to each channel of the bottleneck.
  HostTensor conditioning;
};

// `tensors` are all of UnetParameters(config), in their shapes. UNIMPLEMENTED where the conditioning would be of a GiB
// or more. Takes some tenths of a second of one core.
absl::StatusOr<UnetWeights> MakeUnetWeights(const UnetConfig& config, HostTensors tensors, int num_train_timesteps);

// A transposed convolution's weights [in, out, 2, 2] and bias [out], of stride 2, as those of a 1x1 convolution whose
// output channels [2, 2, out] are the four pixels of each output block.
void AsConvolution(HostTensor& weight, HostTensor& bias);

}  // namespace denoised

#endif  // DENOISED_COMMON_WEIGHTS_UNET_WEIGHTS_H_
