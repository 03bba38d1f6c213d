// File: device.h
//
// What --device and --precision mean on this machine.
//
//   absl::StatusOr<std::string> device = ResolveDevice("auto");   // "cuda:0" or "cpu"
//
// Thread-safe.
#ifndef DENOISED_COMMON_ENGINE_DEVICE_H_
#define DENOISED_COMMON_ENGINE_DEVICE_H_

#include <string>

#include "absl/status/statusor.h"
#include "common/model/precision.h"

namespace denoised {

// The CUDA kernel's arithmetic on the CPU, very slowly: a device for tests.
inline constexpr char kEmulatedCuda[] = "emulated-cuda";

// "cpu", "cuda:N" or kEmulatedCuda for `device`, as EngineOptions has it, on this machine. INVALID_ARGUMENT for a
// malformed name; FAILED_PRECONDITION, saying why, for a device that is not there.
absl::StatusOr<std::string> ResolveDevice(const std::string& device);

// N of "cuda:N"; 0 for another name.
int CudaIndexOf(const std::string& device);

// "cpu" or "cuda:N" likewise, of the devices that LibTorch itself can use: those that can train.
absl::StatusOr<std::string> ResolveTorchDevice(const std::string& device);

// kFp32, kFp16 or kBf16 for `precision` on a device that ResolveDevice named: kAuto is kFp16 on CUDA, and on a CPU
// kBf16 where the processor has instructions for it. INVALID_ARGUMENT or FAILED_PRECONDITION, saying what to use, for
// precisions that the device does not have. Networks that only LibTorch can run have kFp32 alone, whatever this says.
absl::StatusOr<Precision> ResolvePrecision(Precision precision, const std::string& device);

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_DEVICE_H_
