// File: conditioning.h
//
// What the U-Nets make of timestep and label, once for all of them. Pure and thread-safe.
#ifndef DENOISED_COMMON_WEIGHTS_CONDITIONING_H_
#define DENOISED_COMMON_WEIGHTS_CONDITIONING_H_

#include "common/weights/unet_weights.h"

namespace denoised {

// Columns of the table for each label and timestep.
int64_t ConditioningWidth(const UnetConfig& config);

// UnetWeights::conditioning, [num_labels, T, ConditioningWidth]. `tensors` are all of UnetParameters(config).
HostTensor ConditioningTable(const UnetConfig& config, const HostTensors& tensors, int num_train_timesteps);

}  // namespace denoised

#endif  // DENOISED_COMMON_WEIGHTS_CONDITIONING_H_
