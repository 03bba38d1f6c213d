#include "common/engine/make_engine.h"

#include <torch/script.h>

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "common/checkpoint/torch_cuda.h"
#include "common/checkpoint/torch_error.h"
#include "common/checkpoint/unet.h"
#include "common/engine/cpu/cpu_engine.h"
#include "common/engine/cpu/cpu_network.h"
#include "common/engine/cpu/onednn_network.h"
#include "common/engine/cuda/cuda_engine.h"
#include "common/engine/cuda/network_program.h"
#include "common/engine/device.h"
#include "common/engine/torch/batched_engine.h"
#include "common/engine/torch/torch_script_network.h"
#include "common/support/available_cores.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

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

// What CPU engines of this process chose last when they had the cores to themselves. Thread-safe.
class EarlierChoices {
 public:
  static EarlierChoices& Get() {
    static auto* const choices = new EarlierChoices();
    return *choices;
  }
  std::optional<CpuEngineChoices> Of(const std::string& kind) {
    const absl::MutexLock lock(&mu_);
    const auto found = by_kind_.find(kind);
    return found == by_kind_.end() ? std::nullopt : std::optional(found->second);
  }
  void Set(const std::string& kind, const CpuEngineChoices& choices) {
    const absl::MutexLock lock(&mu_);
    by_kind_[kind] = choices;
  }

 private:
  absl::Mutex mu_;
  std::map<std::string, CpuEngineChoices> by_kind_ ABSL_GUARDED_BY(mu_);
};

// All that the times of an engine's steps depend on.
std::string KindOf(const UnetConfig& unet, const CpuEngineOptions& options) {
  return absl::StrCat(options.runner, " ", options.num_threads, " ", options.max_rows, " ", options.num_slots, " ",
                      unet.architecture, " ", absl::StrJoin(unet.channels, ","), " ", unet.norm_groups);
}

absl::StatusOr<std::unique_ptr<Engine>> MakeCpuEngineOf(const Checkpoint& checkpoint, bool beside_another,
                                                        const CpuNetworkFactory& make_network,
                                                        CpuEngineOptions options) {
  const std::string kind = KindOf(checkpoint.metadata.unet, options);
  if (beside_another) options.earlier = EarlierChoices::Get().Of(kind);
  options.on_chosen_again = [kind](const CpuEngineChoices& chosen) { EarlierChoices::Get().Set(kind, chosen); };
  CpuEngineChoices choices;
  absl::StatusOr<std::unique_ptr<Engine>> engine = MakeCpuEngine(make_network, options, &choices);
  if (engine.ok() && !beside_another) EarlierChoices::Get().Set(kind, choices);
  return engine;
}

absl::StatusOr<std::unique_ptr<Engine>> MakeEngineForCpu(const Checkpoint& checkpoint, const EngineOptions& options) {
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
      return MakeCpuEngineOf(
          checkpoint, options.beside_another,
          [model = *model, precision](int max_rows, int threads) {
            return MakeOneDnnNetwork(model, {.max_rows = max_rows, .threads = threads, .precision = precision});
          },
          cpu_options);
    }
    if (!absl::IsUnimplemented(model.status())) return model.status();
    DENOISED_RETURN_IF_ERROR(CheckLibTorchHas(options.precision, model.status()));
  }
  const torch::jit::Module unet = OptimizeForCpu(checkpoint.unet);
  return MakeCpuEngineOf(
      checkpoint, options.beside_another,
      [unet](int max_rows, int threads) -> std::unique_ptr<CpuNetwork> {
        if (threads > 1) return nullptr;  // LibTorch's threads cost more than they bring in a network this small
        return MakeTorchScriptNetwork(unet, max_rows);
      },
      cpu_options);
}

// UNIMPLEMENTED, saying why, where the CUDA kernel cannot run this checkpoint. `device` is a GPU's number, or null for
// the emulation.
absl::StatusOr<std::unique_ptr<Engine>> MakeKernelEngine(const Checkpoint& checkpoint, const EngineOptions& options,
                                                         std::optional<int> device) {
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

absl::StatusOr<std::unique_ptr<Engine>> MakeBatched(const Checkpoint& checkpoint, const EngineOptions& options,
                                                    const std::string& device) {
  // A guided image takes two network rows.
  const int max_rows = options.max_rows > 0 ? options.max_rows : 2 * options.num_slots;
  return MakeBatchedEngine(checkpoint.unet, {.device = device,
                                             .null_label = checkpoint.metadata.null_label.value_or(0),
                                             .num_slots = options.num_slots,
                                             .max_rows = max_rows});
}

absl::StatusOr<std::unique_ptr<Engine>> MakeEngineForCuda(const Checkpoint& checkpoint, const EngineOptions& options,
                                                          const std::string& device) {
  if (options.path == EnginePath::kFastest) {
    absl::StatusOr<std::unique_ptr<Engine>> engine =
        MakeKernelEngine(checkpoint, options, torch::Device(device).index());
    if (!absl::IsUnimplemented(engine.status())) return engine;
    DENOISED_RETURN_IF_ERROR(CheckLibTorchHas(options.precision, engine.status()));
    if (TorchCudaDevices() == 0) {
      return absl::FailedPreconditionError(absl::StrCat("--device=", device, ": ", engine.status().message(),
                                                        "; a LibTorch with CUDA could run it, but this one has none. "
                                                        "Use --device=cpu"));
    }
  }
  return MakeBatched(checkpoint, options, device);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> MakeEngine(const Checkpoint& checkpoint, const EngineOptions& options) {
  if (options.num_slots < 1) {
    return absl::InvalidArgumentError(absl::StrCat("the engine needs at least 1 slot, got ", options.num_slots));
  }
  DENOISED_ASSIGN_OR_RETURN(const std::string device, ResolveDevice(options.device));
  try {
    if (device == kEmulatedCuda) return MakeKernelEngine(checkpoint, options, std::nullopt);
    if (device != "cpu") return MakeEngineForCuda(checkpoint, options, device);
    if (options.path == EnginePath::kBatched) return MakeBatched(checkpoint, options, device);
    return MakeEngineForCpu(checkpoint, options);
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("cannot prepare the model on ", device, ": ", TorchErrorText(e)));
  }
}

}  // namespace denoised
