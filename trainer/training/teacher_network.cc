#include "trainer/training/teacher_network.h"

#include <torch/torch.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/checkpoint/unet.h"
#include "common/engine/cpu/onednn_network.h"
#include "common/image/image.h"
#include "common/weights/unet_weights.h"

namespace denoised {
namespace {

constexpr int kMaxRows = 32;  // of a call: more are no faster

// Networks of one model, of which each thread that calls takes one.
class OneDnnTeacher {
 public:
  explicit OneDnnTeacher(std::shared_ptr<const OneDnnModel> model) : model_(std::move(model)) {}

  at::Tensor Predict(const at::Tensor& x, const at::Tensor& t, const at::Tensor& y) {
    const at::Tensor images = x.contiguous(), timesteps = t.contiguous(), labels = y.contiguous();
    at::Tensor e = torch::empty_like(images);
    std::vector<NetworkRow> rows;
    for (int64_t i = 0; i < images.size(0); ++i) {
      rows.push_back({.x = images.data_ptr<float>() + i * kModelPixels,
                      .t = timesteps.data_ptr<int64_t>()[i],
                      .y = labels.data_ptr<int64_t>()[i]});
    }
    std::unique_ptr<CpuNetwork> network = Take();
    for (size_t first = 0; first < rows.size(); first += kMaxRows) {
      network->Predict(absl::MakeConstSpan(rows).subspan(first, kMaxRows), e.data_ptr<float>() + first * kModelPixels);
    }
    const absl::MutexLock lock(&mu_);
    idle_.push_back(std::move(network));
    return e;
  }

 private:
  std::unique_ptr<CpuNetwork> Take() {
    {
      const absl::MutexLock lock(&mu_);
      if (!idle_.empty()) {
        std::unique_ptr<CpuNetwork> network = std::move(idle_.back());
        idle_.pop_back();
        return network;
      }
    }
    return MakeOneDnnNetwork(model_, {.max_rows = kMaxRows, .threads = 1, .precision = Precision::kFp32});
  }

  const std::shared_ptr<const OneDnnModel> model_;
  absl::Mutex mu_;
  std::vector<std::unique_ptr<CpuNetwork>> idle_ ABSL_GUARDED_BY(mu_);
};

absl::StatusOr<std::shared_ptr<const OneDnnModel>> ModelOf(const torch::jit::Module& unet, const UnetConfig& config,
                                                           int num_train_timesteps) {
  absl::StatusOr<UnetWeights> weights = MakeUnetWeights(config, HostTensorsOf(unet), num_train_timesteps);
  if (!weights.ok()) return weights.status();
  return MakeOneDnnModel(*std::move(weights));
}

}  // namespace

TeacherNetwork MakeTeacherNetwork(const torch::jit::Module& unet, const UnetConfig& config, int num_train_timesteps,
                                  torch::Device device) {
  if (device.is_cpu()) {
    const absl::StatusOr<std::shared_ptr<const OneDnnModel>> model = ModelOf(unet, config, num_train_timesteps);
    if (model.ok()) {
      return [teacher = std::make_shared<OneDnnTeacher>(*model)](
                 const at::Tensor& x, const at::Tensor& t, const at::Tensor& y) { return teacher->Predict(x, t, y); };
    }
  }
  return [unet](const at::Tensor& x, const at::Tensor& t, const at::Tensor& y) {
    torch::jit::Module network = unet;
    return network.forward({x, t, y}).toTensor();
  };
}

}  // namespace denoised
