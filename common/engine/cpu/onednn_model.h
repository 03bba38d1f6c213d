// File: onednn_model.h
//
// A checkpoint's weights as oneDNN takes them. A convolution's are packed when a primitive first asks for them, in the
// layout it asks for, and kept for every other primitive of that layout: networks and numbers of rows share them.
//
//   absl::StatusOr<std::shared_ptr<const OneDnnModel>> model = OneDnnModel::Make(std::move(weights));
//   const dnnl::memory stem = (*model)->Packed("stem.weight", primitive.weights_desc());
//   const float* conditioning = (*model)->Conditioning(/*t=*/999, /*y=*/7);
//
// Pointers and references to the weights live as long as the model. Throws dnnl::error where oneDNN fails, and
// std::out_of_range for a name that the network does not have.
//
// NOTE: this header is for the onednn_*.cc of this folder alone. LibTorch may bring a dnnl.hpp of another version, so
// they are compiled without LibTorch's folders; others include onednn_network.h.
#ifndef DENOISED_COMMON_ENGINE_CPU_ONEDNN_MODEL_H_
#define DENOISED_COMMON_ENGINE_CPU_ONEDNN_MODEL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/weights/unet_weights.h"

namespace denoised {

// Thread-safe.
class OneDnnModel {
 public:
  // UNIMPLEMENTED, saying why, for sizes that the kernels of cpu_kernels.h cannot run.
  static absl::StatusOr<std::shared_ptr<const OneDnnModel>> Make(UnetWeights weights);

  const UnetConfig& config() const { return weights_.config; }
  const dnnl::engine& engine() const { return engine_; }

  // By its name in the checkpoint. Transposed convolutions are there as 1x1 convolutions: see AsConvolution.
  const HostTensor& tensor(const std::string& name) const { return weights_.tensors.at(name); }

  // The row of UnetWeights::conditioning for timestep t and label y: scale, shift or addend of every channel that
  // depends on them.
  const float* Conditioning(int64_t t, int64_t y) const;

  // The convolution weights [out, in, H, W] of this name in the layout and precision `wanted`.
  dnnl::memory Packed(const std::string& name, const dnnl::memory::desc& wanted) const;

 private:
  explicit OneDnnModel(UnetWeights weights);

  dnnl::memory Pack(const std::string& name, const dnnl::memory::desc& wanted) const;

  // Constant after construction.
  const UnetWeights weights_;
  const dnnl::engine engine_;

  mutable absl::Mutex mu_;
  mutable std::map<std::string, std::vector<dnnl::memory>> packed_ ABSL_GUARDED_BY(mu_);  // by name, one a layout
};

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_CPU_ONEDNN_MODEL_H_
