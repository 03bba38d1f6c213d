#include "common/engine/torch/torch_script_network.h"

#include <torch/script.h>

#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#include "common/checkpoint/torch_error.h"
#include "common/checkpoint/torch_threads.h"
#include "common/image/image.h"

namespace denoised {
namespace {

class TorchScriptNetwork : public CpuNetwork {
 public:
  TorchScriptNetwork(const torch::jit::Module& unet, int max_rows) : unet_(unet), calls_(max_rows + 1) {}

  void Predict(absl::Span<const NetworkRow> rows, float* e) override {
    try {
      ComputeOnThisThreadAlone();
      const c10::InferenceMode inference;
      const auto count = static_cast<int64_t>(rows.size());
      const at::Tensor x = torch::empty({count, 1, kModelSize, kModelSize}, torch::kFloat32);
      const at::Tensor t = torch::empty({count}, torch::kInt64), y = torch::empty_like(t);
      for (int64_t i = 0; i < count; ++i) {
        std::copy_n(rows[i].x, kModelPixels, x.data_ptr<float>() + i * kModelPixels);
        t.data_ptr<int64_t>()[i] = rows[i].t;
        y.data_ptr<int64_t>()[i] = rows[i].y;
      }
      // The executor watches its first call of a shape and compiles in the second.
      do {
        const at::Tensor output = unet_.forward({x, t, y}).toTensor().contiguous();
        std::copy_n(output.data_ptr<float>(), output.numel(), e);
      } while (++calls_.at(count) < 2);
    } catch (const std::exception& error) {
      throw std::runtime_error(TorchErrorText(error));
    }
  }

 private:
  torch::jit::Module unet_;
  std::vector<int64_t> calls_;  // by their number of rows
};

}  // namespace

torch::jit::Module OptimizeForCpu(const torch::jit::Module& unet) {
  torch::jit::Module copy = unet.clone();
  copy.eval();
  return torch::jit::optimize_for_inference(copy);
}

std::unique_ptr<CpuNetwork> MakeTorchScriptNetwork(const torch::jit::Module& unet, int max_rows) {
  return std::make_unique<TorchScriptNetwork>(unet, max_rows);
}

}  // namespace denoised
