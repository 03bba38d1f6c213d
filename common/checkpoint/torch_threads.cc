#include "common/checkpoint/torch_threads.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>

namespace denoised {

void ComputeOnThisThreadAlone() {
  static thread_local bool done = false;
  if (done) return;
  done = true;
  at::set_num_threads(1);
  using SetNumThreads = void (*)(int);
  if (const auto set = reinterpret_cast<SetNumThreads>(dlsym(RTLD_DEFAULT, "openblas_set_num_threads"))) set(1);
}

}  // namespace denoised
