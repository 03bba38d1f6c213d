// File: unet_weights.h
//
// A checkpoint's network as plain memory, for what runs it without LibTorch; HostWeights in unet.h makes it.
#ifndef DENOISED_COMMON_MODEL_UNET_WEIGHTS_H_
#define DENOISED_COMMON_MODEL_UNET_WEIGHTS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/model/model_metadata.h"

namespace denoised {

// Values in row-major order.
struct HostTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

struct UnetWeights {
  UnetConfig config;
  int num_train_timesteps = 0;                // T
  std::map<std::string, HostTensor> tensors;  // by their names in MakeUnet's module
  // All that the network makes of timestep and label [num_labels, T, width], in the place of the layers that embed
  // them.
  //   compact: for each residual block in the order of the forward pass, scale [C] then shift [C] of what its second
  //            normalisation gives without weight and bias; those and the block's own scale and shift are one.
  //   seed:    what is added to each channel of the bottleneck.
  HostTensor conditioning;
};

// A transposed convolution's weights [in, out, 2, 2] and bias [out], of stride 2, as those of a 1x1 convolution whose
// output channels [2, 2, out] are the four pixels of each output block.
void AsConvolution(HostTensor& weight, HostTensor& bias);

}  // namespace denoised

#endif  // DENOISED_COMMON_MODEL_UNET_WEIGHTS_H_
