#include "common/engine/torch_engine.h"

#include <sched.h>
#include <torch/script.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/checkpoint/torch_error.h"
#include "common/checkpoint/torch_threads.h"
#include "common/checkpoint/unet.h"
#include "common/diffusion/image_state.h"
#include "common/engine/cpu/cpu_engine.h"
#include "common/engine/cpu/cpu_network.h"
#include "common/engine/cpu/onednn_network.h"
#include "common/engine/cuda/cuda_engine.h"
#include "common/engine/cuda/network_program.h"
#include "common/image/image.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// LibTorch's own interpreter, for what oneDNN alone cannot run.
class TorchScriptNetwork : public CpuNetwork {
 public:
  TorchScriptNetwork(torch::jit::Module unet, int max_rows) : unet_(std::move(unet)), calls_(max_rows + 1) {}

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
  std::string Description() const override {
    return absl::StrCat("LibTorch in fp32, network calls of ", absl::StrJoin(batch_sizes_, ", "), " rows");
  }

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

// A conditioning table of more values than this (1 GiB) is not made.
constexpr int64_t kMaxTableValues = int64_t{1} << 28;

// UNIMPLEMENTED where the conditioning table would be too large.
absl::StatusOr<UnetWeights> WeightsOf(const Checkpoint& checkpoint) {
  const UnetConfig& config = checkpoint.metadata.unet;
  const int timesteps = checkpoint.metadata.noise_schedule.num_train_timesteps;
  int64_t width = 0;
  for (const int channels : config.channels) width += 6 * int64_t{channels};  // at most
  if (width * timesteps * config.num_labels > kMaxTableValues) {
    return absl::UnimplementedError("the table of timesteps and labels would be too large");
  }
  return HostWeights(config, checkpoint.unet, timesteps);
}

absl::StatusOr<std::shared_ptr<const OneDnnModel>> MakeOneDnnModelOf(const Checkpoint& checkpoint) {
  DENOISED_ASSIGN_OR_RETURN(UnetWeights weights, WeightsOf(checkpoint));
  return MakeOneDnnModel(std::move(weights));
}

// LibTorch, which takes over for the reason `why`, runs the network in fp32.
absl::Status CheckLibTorchHas(Precision precision, const absl::Status& why) {
  if (precision == Precision::kAuto || precision == Precision::kFp32) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("--precision=", PrecisionName(precision), ": ", why.message(), "; use auto or fp32"));
}

absl::StatusOr<std::unique_ptr<Engine>> MakeEngineForCpu(const Checkpoint& checkpoint,
                                                         const TorchEngineOptions& options) {
  CpuEngineOptions cpu_options = {.runner = "LibTorch in fp32",
                                  .null_label = checkpoint.metadata.null_label.value_or(0),
                                  .num_slots = options.num_slots,
                                  .max_rows = options.max_rows,
                                  .num_threads = options.num_threads > 0 ? options.num_threads : AvailableCores(),
                                  .num_train_timesteps = checkpoint.metadata.noise_schedule.num_train_timesteps,
                                  .num_labels = checkpoint.metadata.unet.num_labels};
  DENOISED_ASSIGN_OR_RETURN(const Precision precision, ResolvePrecision(options.precision, "cpu"));
  if (options.path == EnginePath::kFastest) {
    const absl::StatusOr<std::shared_ptr<const OneDnnModel>> model = MakeOneDnnModelOf(checkpoint);
    if (model.ok()) {
      cpu_options.runner = absl::StrCat("oneDNN in ", PrecisionName(precision));
      return MakeCpuEngine(
          [&model, precision](int max_rows, int threads) {
            return MakeOneDnnNetwork(*model, {.max_rows = max_rows, .threads = threads, .precision = precision});
          },
          cpu_options);
    }
    if (!absl::IsUnimplemented(model.status())) return model.status();
    DENOISED_RETURN_IF_ERROR(CheckLibTorchHas(options.precision, model.status()));
  }
  const torch::jit::Module unet = OptimizeForCpu(checkpoint.unet);
  return MakeCpuEngine(
      [&unet](int max_rows, int threads) -> std::unique_ptr<CpuNetwork> {
        if (threads > 1) return nullptr;  // LibTorch's threads cost more than they bring in a network this small
        return std::make_unique<TorchScriptNetwork>(unet, max_rows);
      },
      cpu_options);
}

constexpr char kEmulatedCuda[] = "emulated-cuda";

// UNIMPLEMENTED, saying why, where the CUDA kernel cannot run this checkpoint. `device` is a GPU's number, or null for
// the emulation.
absl::StatusOr<std::unique_ptr<Engine>> MakeKernelEngine(const Checkpoint& checkpoint,
                                                         const TorchEngineOptions& options, std::optional<int> device) {
  DENOISED_ASSIGN_OR_RETURN(const Precision precision, ResolvePrecision(options.precision, "cuda"));
  DENOISED_ASSIGN_OR_RETURN(UnetWeights weights, WeightsOf(checkpoint));
  DENOISED_ASSIGN_OR_RETURN(const NetworkProgram program, CompileNetwork(std::move(weights), precision));
  const CudaEngineOptions cuda_options = {
      .device = device.value_or(0),
      .null_label = checkpoint.metadata.null_label.value_or(0),
      .num_slots = options.num_slots,
      .max_images = options.max_rows,
      .num_threads = options.num_threads > 0 ? options.num_threads : AvailableCores(),
      .num_train_timesteps = checkpoint.metadata.noise_schedule.num_train_timesteps};
  if (!device.has_value()) return MakeEmulatedCudaEngine(program, cuda_options);
  return MakeCudaEngine(program, cuda_options);
}

absl::StatusOr<std::unique_ptr<Engine>> MakeBatchedEngine(const Checkpoint& checkpoint,
                                                          const TorchEngineOptions& options, torch::Device device) {
  // A guided image takes two network rows.
  const int max_rows = options.max_rows > 0 ? options.max_rows : 2 * options.num_slots;
  auto engine = std::make_unique<BatchedEngine>(
      Freeze(checkpoint.unet, device), device, checkpoint.metadata.null_label.value_or(0), options.num_slots, max_rows);
  DENOISED_RETURN_IF_ERROR(WarmUpBatched(*engine));
  return engine;
}

absl::StatusOr<std::unique_ptr<Engine>> MakeEngineForCuda(const Checkpoint& checkpoint,
                                                          const TorchEngineOptions& options, torch::Device device) {
  if (options.path == EnginePath::kFastest) {
    absl::StatusOr<std::unique_ptr<Engine>> engine = MakeKernelEngine(checkpoint, options, device.index());
    if (!absl::IsUnimplemented(engine.status())) return engine;
    DENOISED_RETURN_IF_ERROR(CheckLibTorchHas(options.precision, engine.status()));
    if (!torch::cuda::is_available()) {
      return absl::FailedPreconditionError(absl::StrCat("--device=", device.str(), ": ", engine.status().message(),
                                                        "; a LibTorch with CUDA could run it, but this one has none. "
                                                        "Use --device=cpu"));
    }
  }
  return MakeBatchedEngine(checkpoint, options, device);
}

// What `device` names, given how many CUDA devices there are, and why there is none where there is none.
absl::StatusOr<std::string> Resolve(const std::string& device, int count, absl::string_view why_none) {
  if (device == "cpu") return "cpu";
  if (device == "auto") return count > 0 ? "cuda:0" : "cpu";
  absl::string_view rest = device;
  int index = 0;
  if (!absl::ConsumePrefix(&rest, "cuda") ||
      (!rest.empty() && !(absl::ConsumePrefix(&rest, ":") && absl::SimpleAtoi(rest, &index) && index >= 0))) {
    return absl::InvalidArgumentError(absl::StrCat("--device must be auto, cpu, cuda or cuda:N, got \"", device, "\""));
  }
  if (count == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("--device=", device, ": no CUDA device is usable here. ", why_none, "; or use --device=cpu"));
  }
  if (index >= count) {
    return absl::FailedPreconditionError(
        absl::StrCat("--device=", device, ": this machine has ", count, " CUDA device(s), numbered from 0"));
  }
  return absl::StrCat("cuda:", index);
}

constexpr char kCheckDriver[] = "Check the driver with nvidia-smi and, in a container, the nvidia runtime";
constexpr char kCheckGpu[] =
    "The GPU must be of compute capability 8.0 or later. Check it and the driver with nvidia-smi and, in a container, "
    "the "
    "nvidia runtime";

}  // namespace

absl::StatusOr<std::string> ResolveDevice(const std::string& device) {
  if (device == kEmulatedCuda) return device;
  const int count = std::max(CudaDeviceCount(), static_cast<int>(torch::cuda::device_count()));
  if (torch::hasCUDA()) return Resolve(device, count, kCheckDriver);
  return Resolve(device, count,
                 HasCudaKernel() ? kCheckGpu : "This build of denoised was made without the CUDA Toolkit");
}

absl::StatusOr<Precision> ResolvePrecision(Precision precision, const std::string& device) {
  if (device != "cpu") {
    if (precision == Precision::kAuto) return Precision::kFp16;
    if (precision != Precision::kBf16) return precision;
    return absl::InvalidArgumentError("--precision=bf16 is for CPUs; on CUDA use auto, fp16 or fp32");
  }
  if (precision == Precision::kAuto) return HasBfloat16() ? Precision::kBf16 : Precision::kFp32;
  if (precision == Precision::kFp16) {
    return absl::InvalidArgumentError("--precision=fp16 is for CUDA; on the CPU use auto, bf16 or fp32");
  }
  if (precision == Precision::kBf16 && !HasBfloat16()) {
    return absl::FailedPreconditionError(
        "--precision=bf16: this processor has no bfloat16 instructions (AVX512_BF16), or this build has no oneDNN that "
        "uses them; use auto or fp32");
  }
  return precision;
}

absl::StatusOr<std::string> ResolveTorchDevice(const std::string& device) {
  return Resolve(device, static_cast<int>(torch::cuda::device_count()),
                 torch::hasCUDA() ? kCheckDriver : "This LibTorch was built without CUDA");
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
  try {
    if (device == kEmulatedCuda) return MakeKernelEngine(checkpoint, options, std::nullopt);
    if (device != "cpu") return MakeEngineForCuda(checkpoint, options, torch::Device(device));
    if (options.path == EnginePath::kBatched) return MakeBatchedEngine(checkpoint, options, torch::Device(device));
    return MakeEngineForCpu(checkpoint, options);
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("cannot prepare the model on ", device, ": ", TorchErrorText(e)));
  }
}

}  // namespace denoised
