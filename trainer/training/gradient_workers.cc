#include "trainer/training/gradient_workers.h"

#include <ATen/autocast_mode.h>
#include <torch/torch.h>
#include <torch/version.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "common/checkpoint/torch_error.h"
#include "common/checkpoint/torch_threads.h"

namespace denoised {
namespace {

using torch::jit::Module;

// CUDA's autocast to bfloat16 on this thread as long as it lives, where asked for. LibTorch 2.4 gave the functions new
// names.
class Autocast {
 public:
  explicit Autocast(bool on) : on_(on) {
    if (on_) Set(true);
  }
  ~Autocast() {
    if (!on_) return;
    Set(false);
    at::autocast::clear_cache();
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  static void Set(bool enabled) {
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
    at::autocast::set_autocast_dtype(at::kCUDA, torch::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCUDA, enabled);
#else
    at::autocast::set_autocast_gpu_dtype(torch::kBFloat16);
    at::autocast::set_enabled(enabled);
#endif
  }

  const bool on_;
};

at::Tensor Predict(Module& unet, const at::Tensor& x, const at::Tensor& t, const at::Tensor& y, bool bf16) {
  const Autocast autocast(bf16);
  return unet.forward({x, t, y}).toTensor().to(torch::kFloat32);
}

}  // namespace

at::Tensor SquaredErrors(Module& unet, const TrainingBatch& rows, const GradientOptions& options) {
  ComputeOnThisThreadAlone();
  torch::jit::setGraphExecutorOptimize(false);  // per thread; autograd needs the plain operators
  const at::Tensor x = rows.x.to(options.device), t = rows.t.to(options.device), y = rows.y.to(options.device);
  at::Tensor target = options.teacher != nullptr ? options.teacher->Target(x, t, y) : rows.target.to(options.device);
  const at::Tensor e = Predict(unet, x, t, y, options.bf16);
  if (options.model_guidance > 1) {
    // Where e(label) = target + w (e(label) - e(null)) holds on average, e(label) is e(null) + s (target - e(null))
    // with s = 1 / (1 - w). Rows whose label is hidden are their own e(null), so that nothing is added to them.
    const torch::NoGradGuard no_grad;
    const at::Tensor unlabelled = Predict(unet, x, t, torch::full_like(y, *options.null_label), options.bf16);
    at::Tensor away = (1 - 1 / options.model_guidance) * (e - unlabelled);
    at::Tensor guided = t >= options.model_guidance_from;
    if (options.model_guidance_below > 0) guided = guided & (t < options.model_guidance_below);
    away = away * guided.to(away.dtype()).view({-1, 1, 1, 1});
    target = target + away;
  }
  return (e - target).square().mean({1, 2, 3});
}

std::vector<at::Tensor> ParametersOf(const Module& unet) {
  std::vector<at::Tensor> parameters;
  for (const at::Tensor& parameter : unet.parameters()) parameters.push_back(parameter);
  return parameters;
}

GradientWorkers::GradientWorkers(Module& unet, const GradientOptions& options)
    : unet_(unet),
      options_(options),
      parameters_(ParametersOf(unet)),
      pool_(options.device.is_cpu() ? options.threads : 1) {}

BatchSums GradientWorkers::Run(const TrainingBatch& batch, bool stop) {
  std::vector<Share> shares = RunShares(batch);
  const torch::NoGradGuard no_grad;
  double squared_error = 0;
  for (const Share& share : shares) squared_error += share.squared_error;
  for (size_t p = 0; p < parameters_.size(); ++p) {
    at::Tensor sum = shares[0].gradients[p];
    for (size_t i = 1; i < shares.size(); ++i) sum.add_(shares[i].gradients[p]);
    parameters_[p].mutable_grad() = sum;
  }
  if (options_.group != nullptr) SumOverProcesses(squared_error, stop);
  return {.loss = squared_error / static_cast<double>(AllRows(batch)), .stop = stop};
}

std::vector<GradientWorkers::Share> GradientWorkers::RunShares(const TrainingBatch& batch) {
  const int64_t rows = batch.x.size(0);
  const int64_t share = (rows + pool_.size() - 1) / pool_.size();
  const int used = static_cast<int>((rows + share - 1) / share);
  std::vector<Share> shares(used);
  pool_.Run(used, [&](int worker) {
    try {
      shares[worker] = RunParts(batch, worker * share, std::min(rows, (worker + 1) * share));
    } catch (const std::exception& e) {
      shares[worker].error = TorchErrorText(e);
    }
  });
  for (const Share& one : shares) {
    if (!one.error.empty()) throw std::runtime_error(one.error);
  }
  return shares;
}

int64_t GradientWorkers::AllRows(const TrainingBatch& batch) const {
  return batch.all_rows > 0 ? batch.all_rows : batch.x.size(0) * options_.processes;
}

// Fewer rows at once need less memory; their gradients are summed in order.
GradientWorkers::Share GradientWorkers::RunParts(const TrainingBatch& batch, int64_t begin, int64_t end) {
  const int64_t step = options_.rows_at_once > 0 ? options_.rows_at_once : end - begin;
  Share sum = RunShare(batch, begin, std::min(end, begin + step));
  for (int64_t first = begin + step; first < end; first += step) {
    const Share part = RunShare(batch, first, std::min(end, first + step));
    const torch::NoGradGuard no_grad;
    sum.squared_error += part.squared_error;
    for (size_t p = 0; p < parameters_.size(); ++p) sum.gradients[p].add_(part.gradients[p]);
  }
  return sum;
}

GradientWorkers::Share GradientWorkers::RunShare(const TrainingBatch& batch, int64_t begin, int64_t end) {
  const auto rows = [&](const at::Tensor& tensor) { return tensor.slice(0, begin, end); };
  const at::Tensor squared_error = SquaredErrors(unet_,
                                                 {.x = rows(batch.x),
                                                  .t = rows(batch.t),
                                                  .y = rows(batch.y),
                                                  .target = rows(batch.target),
                                                  .weight = rows(batch.weight)},
                                                 options_);
  const auto all_rows = static_cast<double>(AllRows(batch));
  const at::Tensor weight = rows(batch.weight).to(options_.device);
  Share share;
  share.gradients = torch::autograd::grad({(squared_error * weight).sum() / all_rows}, parameters_);
  share.squared_error = squared_error.sum().item<double>();
  return share;
}

// One message for all: hundreds of small ones would cost more than the sums.
void GradientWorkers::SumOverProcesses(double& squared_error, bool& stop) {
  std::vector<at::Tensor> flat;
  for (const at::Tensor& parameter : parameters_) flat.push_back(parameter.grad().flatten());
  flat.push_back(torch::tensor({static_cast<float>(squared_error), stop ? 1.0f : 0.0f}).to(options_.device));
  at::Tensor all = torch::cat(flat);
  options_.group->Sum(all);
  int64_t offset = 0;
  for (const at::Tensor& parameter : parameters_) {
    const at::Tensor& gradient = parameter.grad();
    gradient.copy_(all.narrow(0, offset, gradient.numel()).view(gradient.sizes()));
    offset += gradient.numel();
  }
  const at::Tensor sums = all.narrow(0, offset, 2).cpu();
  squared_error = sums[0].item<double>();
  stop = sums[1].item<float>() > 0;
}

}  // namespace denoised
