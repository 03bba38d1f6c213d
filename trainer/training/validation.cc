#include "trainer/training/validation.h"

#include <torch/torch.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/checkpoint/torch_error.h"
#include "trainer/data/held_out_split.h"

namespace denoised {
namespace {

// Of a call of the network.
constexpr int64_t kRows = 32;

// Each image has a timestep by its place, and images often come class by class: in an order that is as good as random,
// and always the same, every class meets all timesteps.
Dataset Mixed(const Dataset& data) { return Subset(data, MixedOrder(static_cast<int64_t>(data.size()), "validation")); }

}  // namespace

Validation::Validation(const Dataset& held_out, const NoiseSchedule& schedule, const GradientOptions& options)
    : held_out_(Mixed(held_out)),
      images_(static_cast<int64_t>(held_out.size())),
      options_(options),
      batches_(held_out_, schedule,
               {.timesteps = options.teacher != nullptr ? options.teacher->timesteps() : std::vector<int64_t>()}),
      pool_(options.device.is_cpu() ? options.threads : 1) {}

double Validation::Loss(const torch::jit::Module& unet) {
  const int64_t calls = (images_ + kRows - 1) / kRows;
  std::vector<TrainingBatch> rows;  // made here, as random numbers come from one generator
  for (int64_t i = 0; i < calls; ++i) {
    rows.push_back(batches_.MakeFixed(i * kRows, std::min(kRows, images_ - i * kRows)));
  }
  std::vector<double> sums(calls);
  std::vector<std::string> errors(pool_.size());
  torch::jit::Module network = unet;
  pool_.Run(pool_.size(), [&](int worker) {
    try {
      const torch::NoGradGuard no_grad;
      for (int64_t i = worker; i < calls; i += pool_.size()) {
        sums[i] = SquaredErrors(network, rows[i], options_).sum().item<double>();
      }
    } catch (const std::exception& e) {
      errors[worker] = TorchErrorText(e);
    }
  });
  for (const std::string& error : errors) {
    if (!error.empty()) throw std::runtime_error(error);
  }
  double sum = 0;
  for (const double one : sums) sum += one;
  return sum / static_cast<double>(images_);
}

}  // namespace denoised
