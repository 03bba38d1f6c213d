#include "common/torch_engine.h"

#include <sched.h>
#include <torch/script.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/image.h"
#include "common/noise.h"
#include "common/row_update.h"
#include "common/status_macros.h"
#include "common/torch_error.h"
#include "common/torch_threads.h"
#include "common/worker_pool.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

absl::Status CheckFinite(absl::Span<const float> pixels) {
  const bool finite = std::all_of(pixels.begin(), pixels.end(), [](float x) { return std::isfinite(x); });
  if (finite) return absl::OkStatus();
  return absl::InternalError("the network produced values that are not finite numbers");
}

// The images in the making, in host memory.
class ImageState {
 public:
  explicit ImageState(int num_slots) : x_(static_cast<size_t>(num_slots) * kModelPixels), x0_(x_.size()) {}

  float* x(int slot) { return x_.data() + static_cast<size_t>(slot) * kModelPixels; }
  float* x0(int slot) { return x0_.data() + static_cast<size_t>(slot) * kModelPixels; }

  // Before the first step of a chain.
  void Start(const StepRow& row) {
    FillNoise({.seed = row.seed, .image_index = row.image_index, .stream = kInitialNoise}, {x(row.slot), kModelPixels});
    std::fill_n(x0(row.slot), kModelPixels, 0.0f);
  }

  // After the network's output e [kModelPixels] is known.
  void Update(const StepRow& row, const float* e) {
    const StepCoefficients& coefficients = (*row.plan)[row.step];
    float z[kModelPixels];
    const bool noisy = coefficients.d != 0;
    if (noisy) {
      const uint32_t stream = static_cast<uint32_t>(row.step) + 1;
      FillNoise({.seed = row.seed, .image_index = row.image_index, .stream = stream}, z);
    }
    UpdateRow(coefficients, e, noisy ? z : nullptr, kModelPixels, x(row.slot), x0(row.slot));
  }

  absl::Status Read(int slot, FrameKind kind, absl::Span<float> pixels) {
    const float* from = kind == FrameKind::kNoisy ? x(slot) : x0(slot);
    std::copy_n(from, kModelPixels, pixels.begin());
    return CheckFinite(pixels);
  }

 private:
  std::vector<float> x_, x0_;  // [slots, kModelPixels]
};

// e = null + scale * (label - null), for kModelPixels pixels; `e` holds the label's output on entry.
void Guide(float scale, const float* null_output, float* e) {
  for (int i = 0; i < kModelPixels; ++i) e[i] = null_output[i] + scale * (e[i] - null_output[i]);
}

// One row, one call: see the header.
class CpuEngine : public Engine {
 public:
  CpuEngine(torch::jit::Module unet, int null_label, int num_slots, int num_threads)
      : unet_(std::move(unet)), null_label_(null_label), num_slots_(num_slots), state_(num_slots), pool_(num_threads) {}

  int num_slots() const override { return num_slots_; }
  double network_seconds() const override { return network_seconds_; }

  absl::Status Step(absl::Span<const StepRow> rows) override {
    const int used = std::min<int>(pool_.size(), static_cast<int>(rows.size()));
    if (used == 0) return absl::OkStatus();
    std::vector<absl::Status> results(used);
    std::vector<double> network_seconds(used, 0.0);
    pool_.Run(used, [&](int worker) { results[worker] = RunShare(rows, worker, used, network_seconds[worker]); });
    network_seconds_ += *std::max_element(network_seconds.begin(), network_seconds.end());
    for (const absl::Status& result : results) DENOISED_RETURN_IF_ERROR(result);
    return absl::OkStatus();
  }

  absl::Status Read(int slot, FrameKind kind, absl::Span<float> pixels) override {
    return state_.Read(slot, kind, pixels);
  }

 private:
  // Rows worker, worker + workers, ...
  absl::Status RunShare(absl::Span<const StepRow> rows, int worker, int workers, double& network_seconds) {
    try {
      ComputeOnThisThreadAlone();
      const c10::InferenceMode inference;
      for (size_t i = worker; i < rows.size(); i += workers) RunRow(rows[i], network_seconds);
      return absl::OkStatus();
    } catch (const std::exception& e) {
      return absl::InternalError(absl::StrCat("the network failed: ", TorchErrorText(e)));
    }
  }

  void RunRow(const StepRow& row, double& network_seconds) {
    if (row.step == 0) state_.Start(row);
    const int64_t timestep = (*row.plan)[row.step].timestep;
    const Clock::time_point start = Clock::now();
    at::Tensor e = Predict(row.slot, timestep, row.label);
    if (row.guidance_scale != 1) {
      const at::Tensor null_output = Predict(row.slot, timestep, null_label_);
      Guide(row.guidance_scale, null_output.data_ptr<float>(), e.data_ptr<float>());
    }
    network_seconds += SecondsSince(start);
    state_.Update(row, e.data_ptr<float>());
  }

  at::Tensor Predict(int slot, int64_t timestep, int64_t label) {
    at::Tensor x = torch::from_blob(state_.x(slot), {1, 1, kModelSize, kModelSize}, torch::kFloat32);
    at::Tensor t = torch::full({1}, timestep, torch::kInt64);
    at::Tensor y = torch::full({1}, label, torch::kInt64);
    return unet_.forward({std::move(x), std::move(t), std::move(y)}).toTensor().contiguous();
  }

  // Constant after construction.
  torch::jit::Module unet_;
  const int null_label_;
  const int num_slots_;

  ImageState state_;  // a slot belongs to one worker during a step
  double network_seconds_ = 0;
  WorkerPool pool_;  // NOTE: last, so that its threads end before what they use
};

// All rows, one call: see the header. Works on any device; the images in the making stay in host memory.
class BatchedEngine : public Engine {
 public:
  BatchedEngine(torch::jit::Module unet, torch::Device device, int null_label, int num_slots, int max_rows)
      : unet_(std::move(unet)), device_(device), null_label_(null_label), num_slots_(num_slots), state_(num_slots) {
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

  absl::Status Step(absl::Span<const StepRow> rows) override {
    if (rows.empty()) return absl::OkStatus();
    try {
      const c10::InferenceMode inference;
      return RunRows(rows);
    } catch (const std::exception& e) {
      return absl::InternalError(absl::StrCat("the network failed: ", TorchErrorText(e)));
    }
  }

  absl::Status Read(int slot, FrameKind kind, absl::Span<float> pixels) override {
    return state_.Read(slot, kind, pixels);
  }

  // e [B,1,H,W] on the host for B rows, padded up to the next batch size.
  at::Tensor Predict(at::Tensor x, at::Tensor t, at::Tensor y) {
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

// The profiling executor specialises a shape on its first calls, so each runs three times. Leaves slot states dirty,
// which the first step of a chain overwrites.
absl::Status WarmUpCpu(CpuEngine& engine, int num_threads) {
  const StepPlan plan = {StepCoefficients{}};
  std::vector<StepRow> rows;
  for (int slot = 0; slot < std::min(engine.num_slots(), num_threads); ++slot)
    rows.push_back({.slot = slot, .plan = &plan});
  for (int i = 0; i < 3; ++i) DENOISED_RETURN_IF_ERROR(engine.Step(rows));
  return absl::OkStatus();
}

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

absl::StatusOr<std::string> ResolveDevice(const std::string& device) {
  if (device == "cpu") return "cpu";
  const bool available = torch::cuda::is_available();
  if (device == "auto") return available ? "cuda:0" : "cpu";
  absl::string_view rest = device;
  int index = 0;
  if (!absl::ConsumePrefix(&rest, "cuda") ||
      (!rest.empty() && !(absl::ConsumePrefix(&rest, ":") && absl::SimpleAtoi(rest, &index) && index >= 0))) {
    return absl::InvalidArgumentError(absl::StrCat("--device must be auto, cpu, cuda or cuda:N, got \"", device, "\""));
  }
  if (!available) {
    return absl::FailedPreconditionError(
        absl::StrCat("--device=", device, ": no CUDA device is usable here. ",
                     torch::hasCUDA() ? "Check the driver with nvidia-smi and, in a container, the nvidia runtime"
                                      : "This LibTorch was built without CUDA",
                     "; or use --device=cpu"));
  }
  const int count = static_cast<int>(torch::cuda::device_count());
  if (index >= count) {
    return absl::FailedPreconditionError(
        absl::StrCat("--device=", device, ": this machine has ", count, " CUDA device(s), numbered from 0"));
  }
  return absl::StrCat("cuda:", index);
}

int AvailableCores() {
  cpu_set_t set;
  int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                          : static_cast<int>(std::thread::hardware_concurrency());
  std::string quota;
  double period = 0;
  if (double limit = 0; std::ifstream("/sys/fs/cgroup/cpu.max") >> quota >> period && absl::SimpleAtod(quota, &limit)) {
    cores = std::min(cores, static_cast<int>(std::ceil(limit / period)));
  }
  return std::max(cores, 1);
}

absl::StatusOr<std::unique_ptr<Engine>> MakeTorchEngine(const Checkpoint& checkpoint,
                                                        const TorchEngineOptions& options) {
  if (options.num_slots < 1) {
    return absl::InvalidArgumentError(absl::StrCat("the engine needs at least 1 slot, got ", options.num_slots));
  }
  DENOISED_ASSIGN_OR_RETURN(const std::string device, ResolveDevice(options.device));
  const int null_label = checkpoint.metadata.null_label.value_or(0);
  try {
    if (device == "cpu" && !options.force_batched) {
      const int threads = options.num_threads > 0 ? options.num_threads : AvailableCores();
      auto engine =
          std::make_unique<CpuEngine>(Freeze(checkpoint.unet, torch::kCPU), null_label, options.num_slots, threads);
      DENOISED_RETURN_IF_ERROR(WarmUpCpu(*engine, threads));
      return engine;
    }
    // A guided image takes two network rows.
    const int max_rows = options.max_rows > 0 ? options.max_rows : 2 * options.num_slots;
    auto engine = std::make_unique<BatchedEngine>(Freeze(checkpoint.unet, torch::Device(device)), torch::Device(device),
                                                  null_label, options.num_slots, max_rows);
    DENOISED_RETURN_IF_ERROR(WarmUpBatched(*engine));
    return engine;
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("cannot prepare the model on ", device, ": ", TorchErrorText(e)));
  }
}

}  // namespace denoised
