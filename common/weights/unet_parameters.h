// File: unet_parameters.h
//
// What the U-Nets of a checkpoint consist of: the tensors' names and shapes. Pure and thread-safe.
#ifndef DENOISED_COMMON_WEIGHTS_UNET_PARAMETERS_H_
#define DENOISED_COMMON_WEIGHTS_UNET_PARAMETERS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/model/model_metadata.h"

namespace denoised {

struct UnetParameter {
  std::string name;
  std::vector<int64_t> shape;

  friend bool operator==(const UnetParameter&, const UnetParameter&) = default;
};

// Those of the TorchScript module that MakeUnet(config) makes, in its order, which ModelMetadata::parameters_sha256
// goes by: what is learnt, and last the frequencies of the timestep's embedding. `config` must be valid
// (ValidateUnetConfig).
std::vector<UnetParameter> UnetParameters(const UnetConfig& config);

// The product of a shape.
int64_t NumberOfValues(const std::vector<int64_t>& shape);

}  // namespace denoised

#endif  // DENOISED_COMMON_WEIGHTS_UNET_PARAMETERS_H_
