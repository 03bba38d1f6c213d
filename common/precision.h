// File: precision.h
//
// Numbers of how many bits the network's weights and activations are; sums, and everything outside the network, are
// float32 always.
#ifndef DENOISED_COMMON_PRECISION_H_
#define DENOISED_COMMON_PRECISION_H_

#include <string>
#include <vector>

namespace denoised {

enum class Precision {
  kAuto,  // the fastest of the others here
  kFp32,  // as in the checkpoint
  kFp16,  // IEEE half precision, on CUDA
  kBf16,  // bfloat16, a float32's upper half: on CPUs with instructions for it
};

// Names as flags take them.
inline std::vector<std::string> PrecisionNames() { return {"auto", "fp32", "fp16", "bf16"}; }

// Of one of those names; of anything else kAuto.
inline Precision ParsePrecision(const std::string& name) {
  if (name == "fp32") return Precision::kFp32;
  if (name == "fp16") return Precision::kFp16;
  return name == "bf16" ? Precision::kBf16 : Precision::kAuto;
}

}  // namespace denoised

#endif  // DENOISED_COMMON_PRECISION_H_
