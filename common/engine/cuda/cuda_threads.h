// File: cuda_threads.h
//
// The threads of a block, on a GPU and by hand. A block is asked to run a function for each thread, or each warp, and
// waits for all of them; within a warp a function is run for each lane, and what a lane keeps is a PerLane. On a GPU
// these are the threads themselves; on a CPU, where tests can reach what they do, the threads take turns, in any order.
//
//   ForEachWarp([&](int warp) {
//     PerLane<float> kept;
//     ForEachLane([&](int lane) { kept[lane] = values[warp * kLanes + lane]; });
//     const float sum = WarpSum([&](int lane) { return kept[lane]; });
//   });
#ifndef DENOISED_COMMON_ENGINE_CUDA_CUDA_THREADS_H_
#define DENOISED_COMMON_ENGINE_CUDA_CUDA_THREADS_H_

#include <algorithm>
#include <array>
#include <numeric>
#include <random>

namespace denoised::cuda_step {

inline constexpr int kThreads = 512;  // of a block
inline constexpr int kLanes = 32;     // of a warp
inline constexpr int kWarps = kThreads / kLanes;

#if defined(__CUDA_ARCH__)

// A lane's own.
template <typename Value>
struct PerLane {
  __device__ Value& operator[](int) { return value; }
  Value value = {};
};

// A thread's own, from one ForEachThread to the next.
template <typename Value>
struct PerThread {
  __device__ Value& operator[](int) { return value; }
  Value value = {};
};

template <typename Function>
__device__ void ForEachThread(const Function& function) {
  function(static_cast<int>(threadIdx.x));
  __syncthreads();
}

template <typename Function>
__device__ void ForEachWarp(const Function& function) {
  function(static_cast<int>(threadIdx.x) / kLanes);
  __syncthreads();
}

template <typename Function>
__device__ void ForEachLane(const Function& function) {
  function(static_cast<int>(threadIdx.x) % kLanes);
}

// What lane `lane` keeps.
template <typename Value>
__device__ Value FromLane(PerLane<Value>& kept, int lane) {
  return __shfl_sync(0xFFFFFFFFu, kept.value, lane);
}

// The sum of value(lane) over the warp's lanes, for all of them.
template <typename Value>
__device__ float WarpSum(const Value& value) {
  float sum = value(static_cast<int>(threadIdx.x) % kLanes);
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, distance);
  }
  return sum;
}

#else

template <typename Value>
struct PerLane {
  Value& operator[](int lane) { return values[lane]; }
  Value values[kLanes] = {};
};

template <typename Value>
struct PerThread {
  Value& operator[](int thread) { return values[thread]; }
  Value values[kThreads] = {};
};

// Of this thread of the CPU: in which order the block's threads and warps take their turns. Null: one after the other.
inline thread_local std::minstd_rand* turns_at_random = nullptr;

template <int kCount, typename Function>
void ForEachInTurn(const Function& function) {
  std::array<int, kCount> turns;
  std::iota(turns.begin(), turns.end(), 0);
  if (turns_at_random != nullptr) std::shuffle(turns.begin(), turns.end(), *turns_at_random);
  for (const int turn : turns) function(turn);
}

template <typename Function>
void ForEachThread(const Function& function) {
  ForEachInTurn<kThreads>(function);
}

template <typename Function>
void ForEachWarp(const Function& function) {
  ForEachInTurn<kWarps>(function);
}

template <typename Function>
void ForEachLane(const Function& function) {
  for (int lane = 0; lane < kLanes; ++lane) function(lane);
}

template <typename Value>
Value FromLane(PerLane<Value>& kept, int lane) {
  return kept[lane];
}

template <typename Value>
float WarpSum(const Value& value) {
  float sums[kLanes], next[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) sums[lane] = value(lane);
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    for (int lane = 0; lane < kLanes; ++lane) next[lane] = sums[lane] + sums[lane ^ distance];
    std::copy_n(next, kLanes, sums);
  }
  return sums[0];
}

#endif

}  // namespace denoised::cuda_step

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_THREADS_H_
