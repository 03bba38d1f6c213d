#include "common/engine/torch/batched_engine.h"

#include <torch/script.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/checkpoint/torch_error.h"
#include "common/diffusion/image_state.h"
#include "common/image/image.h"
#include "common/support/clock.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;

class BatchedEngine : public Engine {
 public:
  BatchedEngine(const torch::jit::Module& unet, torch::Device device, int null_label, int num_slots, int max_rows)
      : unet_(unet), device_(device), null_label_(null_label), num_slots_(num_slots), state_(num_slots) {
    for (int size = 1; size < max_rows; size *= 2) batch_sizes_.push_back(size);
    batch_sizes_.push_back(max_rows);
  }

  const std::vector<int>& batch_sizes() const { return batch_sizes_; }
  int num_slots() const override { return num_slots_; }
  int ComputedRows(int rows) const override {
    const auto size = std::lower_bound(batch_sizes_.begin(), batch_sizes_.end(), rows);
    return size == batch_sizes_.end() ? rows : *size;
  }
  double network_seconds() const override { return network_seconds_; }
  std::string Description() const override {
    return absl::StrCat("LibTorch in fp32, network calls of ", absl::StrJoin(batch_sizes_, ", "), " rows");
  }

  absl::Status Step(absl::Span<const StepRow> rows) override {
    if (rows.empty()) return absl::OkStatus();
    state_.Announce(rows);
    try {
      const c10::InferenceMode inference;
      return RunRows(rows);
    } catch (const std::exception& e) {
      return absl::InternalError(absl::StrCat("the network failed: ", TorchErrorText(e)));
    }
  }

  int StepsDone(int slot) const override { return state_.steps_done(slot); }
  bool Finite(int slot) const override { return state_.finite(slot); }

  absl::Status Read(int slot, FrameKind kind, absl::Span<float> pixels) override {
    return state_.Read(slot, kind, pixels);
  }

  // e [B,1,H,W] on the host for B rows, padded up to the next batch size.
  at::Tensor Predict(const at::Tensor& x, const at::Tensor& t, const at::Tensor& y) {
    const Clock::time_point start = Clock::now();
    at::Tensor e = unet_.forward({x.to(device_), t.to(device_), y.to(device_)}).toTensor().to(torch::kCPU);
    network_seconds_ += SecondsSince(start);
    return e.contiguous();
  }

 private:
  absl::Status RunRows(absl::Span<const StepRow> rows) {
    std::vector<int> null_rows(rows.size(), -1);  // network row of each image's null label
    int used = static_cast<int>(rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].guidance_scale != 1) null_rows[i] = used++;
    }
    if (used > batch_sizes_.back()) {
      return absl::InternalError(absl::StrCat("a step of ", used, " network rows, where the engine was made for ",
                                              batch_sizes_.back(), " at most"));
    }
    const int64_t batch = ComputedRows(used);
    at::Tensor x = torch::zeros({batch, 1, kModelSize, kModelSize}, torch::kFloat32);
    at::Tensor t = torch::zeros({batch}, torch::kInt64);
    at::Tensor y = torch::zeros({batch}, torch::kInt64);
    const auto place = [&](int64_t network_row, const StepRow& row, int64_t label) {
      std::copy_n(state_.x(row.slot), kModelPixels, x.data_ptr<float>() + network_row * kModelPixels);
      t.data_ptr<int64_t>()[network_row] = (*row.plan)[row.step].timestep;
      y.data_ptr<int64_t>()[network_row] = label;
    };
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].step == 0) state_.Start(rows[i]);
      place(i, rows[i], rows[i].label);
      if (null_rows[i] >= 0) place(null_rows[i], rows[i], null_label_);
    }
    at::Tensor e = Predict(x, t, y);
    for (size_t i = 0; i < rows.size(); ++i) {
      float* output = e.data_ptr<float>() + i * kModelPixels;
      if (null_rows[i] >= 0) {
        Guide(rows[i].guidance_scale, e.data_ptr<float>() + static_cast<size_t>(null_rows[i]) * kModelPixels, output);
      }
      state_.Update(rows[i], output);
    }
    return absl::OkStatus();
  }

  // Constant after construction.
  torch::jit::Module unet_;
  const torch::Device device_;
  const int null_label_;
  const int num_slots_;
  std::vector<int> batch_sizes_;  // ascending

  ImageState state_;
  double network_seconds_ = 0;
};

// The profiling executor specialises a shape on its first calls, so each runs three times.
absl::Status WarmUpBatched(BatchedEngine& engine) {
  try {
    const c10::InferenceMode inference;
    for (const int64_t batch : engine.batch_sizes()) {
      for (int i = 0; i < 3; ++i) {
        engine.Predict(torch::zeros({batch, 1, kModelSize, kModelSize}), torch::zeros({batch}, torch::kInt64),
                       torch::zeros({batch}, torch::kInt64));
      }
    }
    return absl::OkStatus();
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("the network failed while warming up: ", TorchErrorText(e)));
  }
}

// The module's own copy, its weights turned into constants so that the graph can be simplified.
torch::jit::Module Freeze(const torch::jit::Module& unet, torch::Device device) {
  torch::jit::Module copy = unet.clone();
  copy.eval();
  copy.to(device);
  return torch::jit::freeze(copy);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> MakeBatchedEngine(const torch::jit::Module& unet,
                                                          const BatchedEngineOptions& options) {
  const torch::Device device(options.device);
  auto engine = std::make_unique<BatchedEngine>(Freeze(unet, device), device, options.null_label, options.num_slots,
                                                options.max_rows);
  DENOISED_RETURN_IF_ERROR(WarmUpBatched(*engine));
  return engine;
}

}  // namespace denoised
