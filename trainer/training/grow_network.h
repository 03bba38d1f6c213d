// File: grow_network.h
//
// A larger network that begins as a smaller one that has learnt: it predicts the same, up to rounding, and has room to
// learn more. (Net2Net: Chen, Goodfellow and Shlens, arXiv 1511.05641.)
//
//   if (CanGrow(checkpoint.metadata.unet, larger)) {
//     torch::jit::Module unet = MakeUnet(larger);
//     GrowFrom(checkpoint.unet, unet);
//   }
#ifndef DENOISED_TRAINER_TRAINING_GROW_NETWORK_H_
#define DENOISED_TRAINER_TRAINING_GROW_NETWORK_H_

#include <torch/script.h>

#include "common/model/model_metadata.h"

namespace denoised {

// Whether a network `to` can begin as one `from`: any as an equal one; a "compact" one with more blocks, or with two
// or more times the channels at some resolutions, a whole number of times at each. Pure and thread-safe. Both must be
// valid (ValidateUnetConfig).
bool CanGrow(const UnetConfig& from, const UnetConfig& to);

// Sets the weights of `unet`, new from MakeUnet and on the CPU, to predict what `small` does, whose sizes it can grow
// from. Where channels become k times as many, there are k of each, beside each other, so that GroupNorm's groups keep
// their mean and variance; what reads them shares a weight out among the k, by random parts of torch's global
// generator, as equal ones would learn the same for ever. A block that `small` has not adds nothing at first, as its
// last convolution is zero. Weights of equal size are copied bit by bit, and take no random numbers.
void GrowFrom(const torch::jit::Module& small, torch::jit::Module& unet);

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_GROW_NETWORK_H_
