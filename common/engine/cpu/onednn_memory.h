// File: onednn_memory.h
//
// The memory that one network works in: its layers' activations, and the scratch values of its convolutions. All
// numbers of rows work in the same memory, since one call runs at a time.
//
//   OneDnnMemory memory(engine, /*max_rows=*/16);
//   const OneDnnLayer h16 = memory.Layer("h16", /*channels=*/32, /*size=*/16);
//   memory.ShareScratch(scratch);  // a primitive's DNNL_ARG_SCRATCHPAD
//
// Throws dnnl::error where there is no memory. NOTE: for the onednn_*.cc of this folder alone, as onednn_model.h says.
#ifndef DENOISED_COMMON_ENGINE_CPU_ONEDNN_MEMORY_H_
#define DENOISED_COMMON_ENGINE_CPU_ONEDNN_MEMORY_H_

#include <cstdint>
#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <vector>

namespace denoised {

// Activations [B, H, W, C], H = W = size, C = channels. A view: the memory is OneDnnMemory's.
struct OneDnnLayer {
  float* data = nullptr;
  int channels = 0;
  int size = 0;

  int pixels() const { return size * size; }
  int64_t values() const { return int64_t{size} * size * channels; }  // of a row
  float* row(int64_t r) const { return data + r * values(); }
};

// Not thread-safe. What it hands out lives as long as it does.
class OneDnnMemory {
 public:
  OneDnnMemory(const dnnl::engine& engine, int max_rows) : engine_(engine), max_rows_(max_rows) {}

  // The layer of this name, channels and size, with room for max_rows rows: always the same memory.
  OneDnnLayer Layer(const std::string& name, int channels, int size);

  // Points `scratch` to memory that is large enough for it and that all given to this function share. A larger one that
  // comes later moves them all.
  void ShareScratch(const dnnl::memory& scratch);

 private:
  dnnl::memory Floats(int64_t count) const;

  const dnnl::engine engine_;
  const int max_rows_;
  std::map<std::string, dnnl::memory> layers_;  // [max_rows, H, W, C], by name, channels and size
  dnnl::memory scratch_;                        // as large as the largest user's
  std::vector<dnnl::memory> scratch_users_;
};

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_CPU_ONEDNN_MEMORY_H_
