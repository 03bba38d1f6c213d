#include "common/model/unet_weights.h"

#include <algorithm>
#include <utility>

namespace denoised {

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
