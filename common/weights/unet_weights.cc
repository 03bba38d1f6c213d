#include "common/weights/unet_weights.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "common/weights/conditioning.h"

namespace denoised {

absl::StatusOr<UnetWeights> MakeUnetWeights(const UnetConfig& config, HostTensors tensors, int num_train_timesteps) {
  constexpr int64_t kMaxTableValues = int64_t{1} << 28;
  constexpr int64_t kMaxEmbeddingValues = int64_t{1} << 26;  // of which making the table takes a few times as many
  if (ConditioningWidth(config) * num_train_timesteps * config.num_labels > kMaxTableValues ||
      int64_t{config.embedding_dim} * num_train_timesteps > kMaxEmbeddingValues) {
    return absl::UnimplementedError("the table of timesteps and labels would be too large");
  }
  UnetWeights weights{.config = config, .num_train_timesteps = num_train_timesteps, .tensors = {}, .conditioning = {}};
  weights.conditioning = ConditioningTable(config, tensors, num_train_timesteps);
  weights.tensors = std::move(tensors);
  return weights;
}

void AsConvolution(HostTensor& weight, HostTensor& bias) {
  const int64_t in = weight.shape[0], out = weight.shape[1];
  HostTensor rearranged{.shape = {4 * out, in, 1, 1}, .values = std::vector<float>(weight.values.size())};
  for (int64_t pixel = 0; pixel < 4; ++pixel) {
    for (int64_t o = 0; o < out; ++o) {
      for (int64_t i = 0; i < in; ++i) {
        rearranged.values[(pixel * out + o) * in + i] = weight.values[(i * out + o) * 4 + pixel];
      }
    }
  }
  weight = std::move(rearranged);
  bias.shape = {4 * out};
  bias.values.resize(4 * out);
  for (int64_t pixel = 1; pixel < 4; ++pixel) std::copy_n(bias.values.begin(), out, bias.values.begin() + pixel * out);
}

}  // namespace denoised
