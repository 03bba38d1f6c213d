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

// Rows share calls, and workers the calls: see the header.
class CpuEngine : public Engine {
 public:
  CpuEngine(torch::jit::Module unet, int null_label, int num_slots, int num_threads)
      : unet_(std::move(unet)),
        null_label_(null_label),
        num_slots_(num_slots),
        output_(2 * static_cast<size_t>(num_slots) * kModelPixels),
        state_(num_slots),
        pool_(num_threads) {}

  int num_slots() const override { return num_slots_; }
  double network_seconds() const override { return network_seconds_; }

  // Runs calls of 1, 2, ... rows, and finds out how many may share one: as many as leave every row's bits as they are
  // when it is alone. Leaves slot states as they are.
  absl::Status WarmUp() {
    const int most = std::min(kMaxRowsPerCall, (2 * num_slots_ + pool_.size() - 1) / pool_.size());
    absl::Status status;
    pool_.Run(1, [&](int) { status = Guarded([&] { rows_per_call_ = LargestCallThatKeepsBits(most); }); });
    return status;
  }

  absl::Status Step(absl::Span<const StepRow> rows) override {
    PlanCalls(rows);
    const int used = std::min<int>(pool_.size(), static_cast<int>(calls_.size()));
    if (used == 0) return absl::OkStatus();
    std::vector<absl::Status> results(used);
    std::vector<double> network_seconds(used, 0.0);
    pool_.Run(used, [&](int worker) {
      results[worker] = Guarded([&] {
        for (size_t i = worker; i < calls_.size(); i += used) RunCall(rows, calls_[i], network_seconds[worker]);
      });
    });
    network_seconds_ += *std::max_element(network_seconds.begin(), network_seconds.end());
    for (const absl::Status& result : results) DENOISED_RETURN_IF_ERROR(result);
    return absl::OkStatus();
  }

  absl::Status Read(int slot, FrameKind kind, absl::Span<float> pixels) override {
    return state_.Read(slot, kind, pixels);
  }

 private:
  static constexpr int kMaxRowsPerCall = 16;  // more are hardly faster

  // Rows begin to end of a step. A guided image has two network rows, which stay together: its label's, then the null
  // label's. Network rows of one call are consecutive from `first`.
  struct Call {
    size_t begin = 0, end = 0;
    int first = 0, count = 0;
  };

  static int NetworkRows(const StepRow& row) { return row.guidance_scale == 1 ? 1 : 2; }

  // As many calls for each worker, with about as many network rows in each.
  void PlanCalls(absl::Span<const StepRow> rows) {
    calls_.clear();
    int total = 0;
    for (const StepRow& row : rows) total += NetworkRows(row);
    const int rounds = (total + pool_.size() * rows_per_call_ - 1) / (pool_.size() * rows_per_call_);
    const int target = rounds == 0 ? 0 : (total + pool_.size() * rounds - 1) / (pool_.size() * rounds);
    int first = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      const int count = NetworkRows(rows[i]);
      if (calls_.empty() || calls_.back().count + count > target) {
        calls_.push_back({.begin = i, .end = i, .first = first, .count = 0});
      }
      calls_.back().end = i + 1;
      calls_.back().count += count;
      first += count;
    }
  }

  void RunCall(absl::Span<const StepRow> rows, const Call& call, double& network_seconds) {
    at::Tensor x = torch::empty({call.count, 1, kModelSize, kModelSize}, torch::kFloat32);
    at::Tensor t = torch::empty({call.count}, torch::kInt64);
    at::Tensor y = torch::empty({call.count}, torch::kInt64);
    int network_row = 0;
    const auto place = [&](const StepRow& row, int64_t label) {
      std::copy_n(state_.x(row.slot), kModelPixels,
                  x.data_ptr<float>() + static_cast<size_t>(network_row) * kModelPixels);
      t.data_ptr<int64_t>()[network_row] = (*row.plan)[row.step].timestep;
      y.data_ptr<int64_t>()[network_row++] = label;
    };
    for (size_t i = call.begin; i < call.end; ++i) {
      if (rows[i].step == 0) state_.Start(rows[i]);
      place(rows[i], rows[i].label);
      if (NetworkRows(rows[i]) == 2) place(rows[i], null_label_);
    }
    float* e = output_.data() + static_cast<size_t>(call.first) * kModelPixels;
    const Clock::time_point start = Clock::now();
    Predict(x, t, y, rows_per_call_, e);
    network_seconds += SecondsSince(start);
    for (size_t i = call.begin; i < call.end; ++i) {
      if (NetworkRows(rows[i]) == 2) Guide(rows[i].guidance_scale, e + kModelPixels, e);
      state_.Update(rows[i], e);
      e += NetworkRows(rows[i]) * kModelPixels;
    }
  }

  // The network's output for x [B,1,H,W], t [B] and y [B], at most `together` rows at once, to e [B, kModelPixels].
  void Predict(const at::Tensor& x, const at::Tensor& t, const at::Tensor& y, int together, float* e) {
    for (int64_t begin = 0; begin < x.size(0); begin += together) {
      const int64_t end = std::min<int64_t>(x.size(0), begin + together);
      const auto part = [&](const at::Tensor& tensor) { return tensor.slice(0, begin, end); };
      const at::Tensor output = unet_.forward({part(x), part(t), part(y)}).toTensor().contiguous();
      std::copy_n(output.data_ptr<float>(), output.numel(), e + static_cast<size_t>(begin) * kModelPixels);
    }
  }

  int LargestCallThatKeepsBits(int most) {
    torch::manual_seed(1);
    const at::Tensor x = torch::randn({most, 1, kModelSize, kModelSize});
    const at::Tensor t = torch::arange(most, torch::kInt64) * 60;
    const at::Tensor y = torch::arange(most, torch::kInt64) % 10;
    std::vector<float> alone(static_cast<size_t>(most) * kModelPixels), together(alone.size());
    // Everything twice: the executor watches a first run and compiles in the second.
    for (int i = 0; i < 2; ++i) Predict(x, t, y, 1, alone.data());
    for (int rows = 2; rows <= most; ++rows) {
      const auto end = alone.begin() + static_cast<std::ptrdiff_t>(rows) * kModelPixels;
      for (int i = 0; i < 2; ++i) {
        Predict(x.slice(0, 0, rows), t.slice(0, 0, rows), y.slice(0, 0, rows), rows, together.data());
        if (!std::equal(alone.begin(), end, together.begin())) return rows - 1;
      }
    }
    return most;
  }

  // Runs `work` on a worker's thread.
  template <typename Work>
  static absl::Status Guarded(const Work& work) {
    try {
      ComputeOnThisThreadAlone();
      const c10::InferenceMode inference;
      work();
      return absl::OkStatus();
    } catch (const std::exception& e) {
      return absl::InternalError(absl::StrCat("the network failed: ", TorchErrorText(e)));
    }
  }

  // Constant after WarmUp.
  torch::jit::Module unet_;
  const int null_label_;
  const int num_slots_;
  int rows_per_call_ = 1;

  std::vector<Call> calls_;    // of the step
  std::vector<float> output_;  // [network rows of the step, kModelPixels]
  ImageState state_;           // a slot belongs to one worker during a step
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

// The same for the CPU, with the weights in the layout that oneDNN's convolutions want, once and for all. Besides its
// speed, this is what makes a row's bits independent of the rows beside it: without, LibTorch chooses layouts and
// algorithms anew for each number of rows.
torch::jit::Module OptimizeForCpu(const torch::jit::Module& unet) {
  torch::jit::Module copy = unet.clone();
  copy.eval();
  return torch::jit::optimize_for_inference(copy);
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
          std::make_unique<CpuEngine>(OptimizeForCpu(checkpoint.unet), null_label, options.num_slots, threads);
      DENOISED_RETURN_IF_ERROR(engine->WarmUp());
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
