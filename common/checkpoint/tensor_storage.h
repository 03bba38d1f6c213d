// File: tensor_storage.h
//
// Whether a tensor that came from a file may be read. LibTorch 1.13 takes offset and strides from the archive as they
// are, so that a damaged or hostile one reads whatever lies behind its storage. Pure and thread-safe.
#ifndef DENOISED_COMMON_CHECKPOINT_TENSOR_STORAGE_H_
#define DENOISED_COMMON_CHECKPOINT_TENSOR_STORAGE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace denoised {

// True if every element of `tensor` lies within its storage. Reads none of them.
inline bool LiesInItsStorage(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.has_storage() || tensor.is_sparse()) return false;
  if (tensor.numel() == 0) return true;
  const auto stored = static_cast<int64_t>(tensor.storage().nbytes() / tensor.element_size());
  if (tensor.storage_offset() < 0 || tensor.storage_offset() >= stored) return false;
  int64_t left = stored - 1 - tensor.storage_offset();  // elements behind the first
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    const int64_t steps = tensor.size(d) - 1, stride = tensor.stride(d);
    if (steps <= 0) continue;
    if (stride < 0 || (stride > 0 && steps > left / stride)) return false;
    left -= steps * stride;
  }
  return true;
}

}  // namespace denoised

#endif  // DENOISED_COMMON_CHECKPOINT_TENSOR_STORAGE_H_
