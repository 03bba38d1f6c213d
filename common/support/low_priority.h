// File: low_priority.h
//
// Work that gives way to everything else in the process.
//
//   RunAtLowPriority([&] { checkpoint = LoadCheckpoint(path); });
//
// It gets a thread of its own, because a process without privileges cannot give a thread its priority back.
// Thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_LOW_PRIORITY_H_
#define DENOISED_COMMON_SUPPORT_LOW_PRIORITY_H_

#include <functional>

namespace denoised {

// Returns when `work` is done, or throws what it throws. Threads that it starts are as low. Where no thread can be had,
// the work is done on this one.
void RunAtLowPriority(const std::function<void()>& work);

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_LOW_PRIORITY_H_
