#include "common/engine/device.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/engine/cpu/onednn_network.h"
#include "common/engine/cuda/cuda_engine.h"
#include "common/engine/torch/torch_cuda.h"

namespace denoised {
namespace {

// What `device` names, given how many CUDA devices there are, and why there is none where there is none.
absl::StatusOr<std::string> Resolve(const std::string& device, int count, absl::string_view why_none) {
  if (device == "cpu") return "cpu";
  if (device == "auto") return count > 0 ? "cuda:0" : "cpu";
  absl::string_view rest = device;
  int index = 0;
  if (!absl::ConsumePrefix(&rest, "cuda") ||
      (!rest.empty() && !(absl::ConsumePrefix(&rest, ":") && absl::SimpleAtoi(rest, &index) && index >= 0))) {
    return absl::InvalidArgumentError(absl::StrCat("--device must be auto, cpu, cuda or cuda:N, got \"", device, "\""));
  }
  if (count == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("--device=", device, ": no CUDA device is usable here. ", why_none, "; or use --device=cpu"));
  }
  if (index >= count) {
    return absl::FailedPreconditionError(
        absl::StrCat("--device=", device, ": this machine has ", count, " CUDA device(s), numbered from 0"));
  }
  return absl::StrCat("cuda:", index);
}

constexpr char kCheckDriver[] = "Check the driver with nvidia-smi and, in a container, the nvidia runtime";
constexpr char kCheckGpu[] =
    "The GPU must be of compute capability 8.0 or later. Check it and the driver with nvidia-smi and, in a container, "
    "the nvidia runtime";

}  // namespace

absl::StatusOr<std::string> ResolveDevice(const std::string& device) {
  if (device == kEmulatedCuda) return device;
  const int count = std::max(CudaDeviceCount(), TorchCudaDevices());
  if (TorchHasCuda()) return Resolve(device, count, kCheckDriver);
  const std::string trouble = count > 0 ? "" : CudaTrouble();
  const std::string check = trouble.empty() ? kCheckGpu : absl::StrCat(trouble, ". ", kCheckGpu);
  return Resolve(device, count, HasCudaKernel() ? check : "This build of denoised was made without the CUDA Toolkit");
}

int CudaIndexOf(const std::string& device) {
  int index = 0;
  return absl::SimpleAtoi(device.substr(device.find(':') + 1), &index) ? index : 0;
}

absl::StatusOr<Precision> ResolvePrecision(Precision precision, const std::string& device) {
  if (device != "cpu") {
    if (precision == Precision::kAuto) return Precision::kFp16;
    if (precision != Precision::kBf16) return precision;
    return absl::InvalidArgumentError("--precision=bf16 is for CPUs; on CUDA use auto, fp16 or fp32");
  }
  if (precision == Precision::kAuto) return HasBfloat16() ? Precision::kBf16 : Precision::kFp32;
  if (precision == Precision::kFp16) {
    return absl::InvalidArgumentError("--precision=fp16 is for CUDA; on the CPU use auto, bf16 or fp32");
  }
  if (precision == Precision::kBf16 && !HasBfloat16()) {
    return absl::FailedPreconditionError(
        "--precision=bf16: this processor has no bfloat16 instructions (AVX512_BF16), or this build has no oneDNN that "
        "uses them; use auto or fp32");
  }
  return precision;
}

absl::StatusOr<std::string> ResolveTorchDevice(const std::string& device) {
  return Resolve(device, TorchCudaDevices(), TorchHasCuda() ? kCheckDriver : "This LibTorch was built without CUDA");
}

}  // namespace denoised
