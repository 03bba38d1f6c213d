// File: precision.h
//
// In which numbers the network's products are taken. On CUDA its weights and activations are stored so, on the CPU they
// are rounded for the convolutions only. Sums, and everything outside the network, are float32 always.
#ifndef DENOISED_COMMON_MODEL_PRECISION_H_
#define DENOISED_COMMON_MODEL_PRECISION_H_

#include <string>
#include <vector>

namespace denoised {

enum class Precision {
  kAuto,  // what the device has for it: ResolvePrecision in common/engine/device.h
  kFp32,  // as in the checkpoint
  kFp16,  // IEEE half precision, on CUDA
  kBf16,  // bfloat16, a float32's upper half, on CPUs with instructions for it
};

// Names as flags take them, by value.
inline std::vector<std::string> PrecisionNames() { return {"auto", "fp32", "fp16", "bf16"}; }
inline std::string PrecisionName(Precision precision) { return PrecisionNames()[static_cast<size_t>(precision)]; }

// Of one of those names; of anything else kAuto.
inline Precision ParsePrecision(const std::string& name) {
  for (const Precision precision : {Precision::kFp32, Precision::kFp16, Precision::kBf16}) {
    if (name == PrecisionName(precision)) return precision;
  }
  return Precision::kAuto;
}

}  // namespace denoised

#endif  // DENOISED_COMMON_MODEL_PRECISION_H_
