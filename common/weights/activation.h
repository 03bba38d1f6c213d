// File: activation.h
//
// What follows a normalisation.
#ifndef DENOISED_COMMON_WEIGHTS_ACTIVATION_H_
#define DENOISED_COMMON_WEIGHTS_ACTIVATION_H_

namespace denoised {

enum class Activation {
  kSilu,       // v / (1 + exp(-v))
  kLeakyRelu,  // v, or v/10 where v is negative
};

}  // namespace denoised

#endif  // DENOISED_COMMON_WEIGHTS_ACTIVATION_H_
