#include "trainer/training/grow_network.h"

#include <map>
#include <string>

namespace denoised {
namespace {

// `weight`, [out, in, ...] or [out], in the larger `shape`: see GrowFrom.
at::Tensor Widened(const at::Tensor& weight, at::IntArrayRef shape) {
  at::Tensor wide = weight;
  if (shape[0] > wide.size(0)) wide = wide.repeat_interleave(shape[0] / wide.size(0), 0);
  if (shape.size() < 2 || shape[1] == wide.size(1)) return wide;
  const int64_t copies = shape[1] / wide.size(1);
  const at::Tensor parts = torch::rand({shape[0], wide.size(1), copies}) + 0.5;
  at::Tensor shares = (parts / parts.sum(2, /*keepdim=*/true)).reshape({shape[0], shape[1]});
  while (shares.dim() < wide.dim()) shares = shares.unsqueeze(-1);
  return wide.repeat_interleave(copies, 1) * shares;
}

}  // namespace

bool CanGrow(const UnetConfig& from, const UnetConfig& to) {
  if (from == to) return true;
  UnetConfig grown = from;
  grown.channels = to.channels;
  grown.blocks = to.blocks;
  if (from.architecture != "compact" || grown != to) return false;
  for (size_t i = 0; i < to.channels.size(); ++i) {
    if (to.channels[i] % from.channels[i] != 0 || to.blocks[i] < from.blocks[i]) return false;
  }
  return true;
}

void GrowFrom(const torch::jit::Module& small, torch::jit::Module& unet) {
  const torch::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> weights;
  for (const auto& parameter : small.named_parameters()) weights[parameter.name] = parameter.value;
  for (const auto& parameter : unet.named_parameters()) {
    const auto weight = weights.find(parameter.name);
    if (weight == weights.end()) continue;
    parameter.value.copy_(Widened(weight->second, parameter.value.sizes()));
  }
}

}  // namespace denoised
