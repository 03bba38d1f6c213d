// File: available_cores.h
//
// How many threads of computing are worth having. Thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_AVAILABLE_CORES_H_
#define DENOISED_COMMON_SUPPORT_AVAILABLE_CORES_H_

namespace denoised {

// Cores that this process may run on: its CPU affinity, lowered by a container's CPU quota. At least 1.
int AvailableCores();

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_AVAILABLE_CORES_H_
