#include "common/engine/cpu/onednn_memory.h"

#include "absl/strings/str_cat.h"

namespace denoised {

using dnnl::memory;

OneDnnLayer OneDnnMemory::Layer(const std::string& name, int channels, int size) {
  OneDnnLayer layer{.channels = channels, .size = size};
  memory& values = layers_[absl::StrCat(name, " ", channels, " ", size)];
  if (!values) values = Floats(max_rows_ * layer.values());
  layer.data = static_cast<float*>(values.get_data_handle());
  return layer;
}

void OneDnnMemory::ShareScratch(const memory& scratch) {
  scratch_users_.push_back(scratch);
  const size_t bytes = scratch.get_desc().get_size();
  if (!scratch_ || scratch_.get_desc().get_size() < bytes) {
    scratch_ = Floats(static_cast<int64_t>(bytes / sizeof(float)) + 1);
  }
  for (memory& user : scratch_users_) user.set_data_handle(scratch_.get_data_handle());
}

// Aligned to cache lines, which std::vector's memory is not.
memory OneDnnMemory::Floats(int64_t count) const {
  return memory({{count}, memory::data_type::f32, memory::format_tag::a}, engine_);
}

}  // namespace denoised
