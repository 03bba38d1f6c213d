#include "trainer/data/training_batches.h"

#include <torch/torch.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "common/image/image.h"

namespace denoised {
namespace {

// A vector of the schedule, taken at t [B] and shaped for images: [B,1,1,1].
at::Tensor AtTimesteps(const at::Tensor& table, const at::Tensor& t) {
  return table.index_select(0, t).view({-1, 1, 1, 1});
}

}  // namespace

TrainingBatches::TrainingBatches(const Dataset& data, const NoiseSchedule& schedule,
                                 const TrainingBatchesOptions& options)
    : data_(data), options_(options), prediction_type_(schedule.config().prediction_type), order_(data.size()) {
  const auto images = static_cast<int64_t>(data.size());
  const at::Tensor alphas_cumprod = torch::tensor(schedule.alphas_cumprod(), torch::kFloat64);
  timesteps_ = options.timesteps.empty() ? torch::arange(alphas_cumprod.size(0), torch::kInt64)
                                         : torch::tensor(options.timesteps, torch::kInt64);
  signal_ = alphas_cumprod.sqrt().to(torch::kFloat32);
  noise_ = (1 - alphas_cumprod).sqrt().to(torch::kFloat32);
  weight_ = LossWeights(alphas_cumprod).to(torch::kFloat32);
  pixels_ =
      torch::from_blob(const_cast<uint8_t*>(data.pixels.data()), {images, 1, kModelSize, kModelSize}, torch::kUInt8);
  labels_ = torch::from_blob(const_cast<uint8_t*>(data.labels.data()), {images}, torch::kUInt8);
}

int64_t TrainingBatches::per_epoch() const { return (images_per_epoch() + global_rows() - 1) / global_rows(); }

int64_t TrainingBatches::images_per_epoch() const {
  const auto images = static_cast<int64_t>(data_.size());
  const int64_t left = images % global_rows();
  return options_.keep_last && left >= options_.ranks ? images : images - left;
}

void TrainingBatches::StartEpoch(int epoch) {
  std::iota(order_.begin(), order_.end(), int64_t{0});
  std::mt19937_64 random(options_.seed * 1'000'003 + static_cast<uint64_t>(epoch));
  std::shuffle(order_.begin(), order_.end(), random);
  epoch_seed_ = random();
}

TrainingBatch TrainingBatches::Make(int64_t index) const {
  torch::manual_seed(epoch_seed_ + static_cast<uint64_t>(index));
  // Every process draws for the whole batch and keeps its share, so that their number does not change the numbers.
  const int64_t all = std::min(global_rows(), images_per_epoch() - index * global_rows());
  const at::Tensor t = timesteps_.index_select(0, torch::randint(timesteps_.size(0), {all}, torch::kInt64));
  const at::Tensor hidden = torch::rand({all}) < options_.label_dropout;
  const at::Tensor epsilon = torch::randn({all, 1, kModelSize, kModelSize});
  const int64_t each = all / options_.ranks, one_more = all % options_.ranks;  // as many processes get one row more
  const int64_t count = each + (options_.rank < one_more ? 1 : 0);
  const int64_t first = options_.rank * each + std::min<int64_t>(options_.rank, one_more);
  const auto share = [&](const at::Tensor& tensor) { return tensor.narrow(0, first, count); };

  const at::Tensor rows =
      torch::from_blob(const_cast<int64_t*>(order_.data()) + index * global_rows() + first, {count}, torch::kInt64);
  const at::Tensor clean = pixels_.index_select(0, rows).to(torch::kFloat32) / 127.5 - 1;
  TrainingBatch batch;
  batch.t = share(t);
  batch.y = labels_.index_select(0, rows).to(torch::kInt64);
  if (options_.null_label) batch.y.masked_fill_(share(hidden), *options_.null_label);
  batch.x = Noisy(clean, share(epsilon), batch.t);
  batch.target = Target(clean, share(epsilon), batch.t);
  batch.weight = weight_.index_select(0, batch.t);
  batch.all_rows = all;
  return batch;
}

TrainingBatch TrainingBatches::MakeFixed(int64_t first, int64_t count) const {
  constexpr uint64_t kSeed = 20'000'003;
  torch::manual_seed(kSeed + static_cast<uint64_t>(first));
  const at::Tensor epsilon = torch::randn({count, 1, kModelSize, kModelSize});
  const at::Tensor middles = torch::arange(first, first + count, torch::kInt64) * 2 + 1;
  const at::Tensor clean = pixels_.narrow(0, first, count).to(torch::kFloat32) / 127.5 - 1;
  TrainingBatch batch;
  const int64_t parts = 2 * static_cast<int64_t>(data_.size());
  batch.t = timesteps_.index_select(0, torch::floor_divide(middles * timesteps_.size(0), parts));
  batch.y = labels_.narrow(0, first, count).to(torch::kInt64);
  batch.x = Noisy(clean, epsilon, batch.t);
  batch.target = Target(clean, epsilon, batch.t);
  batch.weight = torch::ones({count});
  return batch;
}

at::Tensor TrainingBatches::Noisy(const at::Tensor& clean, const at::Tensor& epsilon, const at::Tensor& t) const {
  return AtTimesteps(signal_, t) * clean + AtTimesteps(noise_, t) * epsilon;
}

at::Tensor TrainingBatches::Target(const at::Tensor& clean, const at::Tensor& epsilon, const at::Tensor& t) const {
  if (prediction_type_ == PredictionType::kEpsilon) return epsilon;
  return AtTimesteps(signal_, t) * epsilon - AtTimesteps(noise_, t) * clean;
}

// Weights that make the clean image's squared error count min(SNR, gamma) at each timestep (Hang et al., arXiv
// 2303.09556, section 3.4): an error of epsilon is one of the clean image times SNR, an error of v times SNR + 1.
at::Tensor TrainingBatches::LossWeights(const at::Tensor& alphas_cumprod) const {
  if (options_.min_snr_gamma == 0) return torch::ones_like(alphas_cumprod);
  const at::Tensor snr = alphas_cumprod / (1 - alphas_cumprod);
  return snr.clamp_max(options_.min_snr_gamma) / (prediction_type_ == PredictionType::kEpsilon ? snr : snr + 1);
}

}  // namespace denoised
