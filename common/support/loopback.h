// File: loopback.h
//
// Whether an address is only for programs on this machine.
//
//   if (!IsLoopback("0.0.0.0:50051")) ...   // strangers may reach it
//
// Pure and thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_LOOPBACK_H_
#define DENOISED_COMMON_SUPPORT_LOOPBACK_H_

#include <string>

namespace denoised {

// True for "127.0.0.1:50051" and its neighbours, "[::1]:50051", "localhost:50051", "unix:/run/denoised.sock" and
// "unix-abstract:denoised"; false
// for whatever else, names that might resolve to such an address too.
bool IsLoopback(const std::string& address);

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_LOOPBACK_H_
