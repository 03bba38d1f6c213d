// File: torch_threads.h
//
// How this project's own threads share the cores with LibTorch's.
#ifndef DENOISED_COMMON_CHECKPOINT_TORCH_THREADS_H_
#define DENOISED_COMMON_CHECKPOINT_TORCH_THREADS_H_

namespace denoised {

// Makes the calling thread compute alone: no operator that it calls is spread over LibTorch's or OpenBLAS's threads.
// Networks this small spend their time waiting for such threads; a WorkerPool with a thread per core and a share of the
// rows for each is faster. LibTorch does not tell OpenBLAS, on whose threads concurrent callers would wait in turn, so
// this does, for the whole process. Cheap after a thread's first call.
void ComputeOnThisThreadAlone();

}  // namespace denoised

#endif  // DENOISED_COMMON_CHECKPOINT_TORCH_THREADS_H_
