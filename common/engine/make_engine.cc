#include "common/engine/make_engine.h"

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "common/engine/cpu/cpu_engine.h"
#include "common/engine/cpu/cpu_network.h"
#include "common/engine/cpu/onednn_network.h"
#include "common/engine/cuda/cuda_engine.h"
#include "common/engine/cuda/network_program.h"
#include "common/engine/device.h"
#include "common/engine/torch/torch_cuda.h"
#include "common/engine/torch/torch_engines.h"
#include "common/support/available_cores.h"
#include "common/support/low_priority.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

// UNIMPLEMENTED where the conditioning table would be too large.
absl::StatusOr<UnetWeights> WeightsOf(const PlainCheckpoint& checkpoint) {
  return MakeUnetWeights(checkpoint.metadata.unet, checkpoint.tensors,
                         checkpoint.metadata.noise_schedule.num_train_timesteps);
}

// Takes a tenth of a second of a core, which an engine at work does not miss.
absl::StatusOr<std::shared_ptr<const OneDnnModel>> MakeOneDnnModelOf(const PlainCheckpoint& checkpoint, bool give_way) {
  absl::StatusOr<UnetWeights> weights = absl::UnknownError("not made");
  const auto make = [&] { weights = WeightsOf(checkpoint); };
  if (give_way) {
    RunAtLowPriority(make);
  } else {
    make();
  }
  DENOISED_RETURN_IF_ERROR(weights.status());
  return MakeOneDnnModel(*std::move(weights));
}

// LibTorch, which takes over for the reason `why`, runs the network in fp32.
absl::Status CheckLibTorchHas(Precision precision, const absl::Status& why) {
  if (precision == Precision::kAuto || precision == Precision::kFp32) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("--precision=", PrecisionName(precision), ": ", why.message(), "; use auto or fp32"));
}

absl::Status WantsLibTorch(const absl::Status& why) {
  return absl::FailedPreconditionError(
      absl::StrCat("this build of denoised, made without LibTorch, cannot run this network: ", why.message(),
                   "; use a build with LibTorch"));
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
                      unet.architecture, " ", absl::StrJoin(unet.channels, ","), " ", absl::StrJoin(unet.blocks, ","),
                      " ", unet.norm_groups);
}

absl::StatusOr<std::unique_ptr<Engine>> MakeCpuEngineOf(const PlainCheckpoint& checkpoint, bool beside_another,
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

absl::StatusOr<std::unique_ptr<Engine>> MakeEngineForCpu(const PlainCheckpoint& checkpoint,
                                                         const EngineOptions& options) {
  CpuEngineOptions cpu_options = {.runner = "LibTorch in fp32",
                                  .null_label = checkpoint.metadata.null_label.value_or(0),
                                  .num_slots = options.num_slots,
                                  .max_rows = options.max_rows,
                                  .num_threads = options.num_threads > 0 ? options.num_threads : AvailableCores(),
                                  .num_train_timesteps = checkpoint.metadata.noise_schedule.num_train_timesteps,
                                  .num_labels = checkpoint.metadata.unet.num_labels,
                                  .another_at_work = options.another_at_work};
  DENOISED_ASSIGN_OR_RETURN(const Precision precision, ResolvePrecision(options.precision, "cpu"));
  if (options.path == EnginePath::kFastest) {
    const absl::StatusOr<std::shared_ptr<const OneDnnModel>> model =
        MakeOneDnnModelOf(checkpoint, IsAtWork(options.another_at_work));
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
    if (!HasTorch()) return WantsLibTorch(model.status());
  }
  DENOISED_ASSIGN_OR_RETURN(const CpuNetworkFactory make_network,
                            TorchNetworks(checkpoint.metadata.unet, checkpoint.tensors));
  return MakeCpuEngineOf(checkpoint, options.beside_another, make_network, cpu_options);
}

// UNIMPLEMENTED, saying why, where the CUDA kernel cannot run this checkpoint. `device` is a GPU's number, or null for
// the emulation.
absl::StatusOr<std::unique_ptr<Engine>> MakeKernelEngine(const PlainCheckpoint& checkpoint,
                                                         const EngineOptions& options, std::optional<int> device) {
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

absl::StatusOr<std::unique_ptr<Engine>> MakeBatched(const PlainCheckpoint& checkpoint, const EngineOptions& options,
                                                    const std::string& device) {
  // A guided image takes two network rows.
  const int max_rows = options.max_rows > 0 ? options.max_rows : 2 * options.num_slots;
  return MakeTorchEngine(checkpoint.metadata.unet, checkpoint.tensors,
                         {.device = device,
                          .null_label = checkpoint.metadata.null_label.value_or(0),
                          .num_slots = options.num_slots,
                          .max_rows = max_rows});
}

absl::StatusOr<std::unique_ptr<Engine>> MakeEngineForCuda(const PlainCheckpoint& checkpoint,
                                                          const EngineOptions& options, const std::string& device) {
  if (options.path == EnginePath::kFastest) {
    absl::StatusOr<std::unique_ptr<Engine>> engine = MakeKernelEngine(checkpoint, options, CudaIndexOf(device));
    if (!absl::IsUnimplemented(engine.status())) return engine;
    DENOISED_RETURN_IF_ERROR(CheckLibTorchHas(options.precision, engine.status()));
    if (!HasTorch()) return WantsLibTorch(engine.status());
    if (TorchCudaDevices() == 0) {
      return absl::FailedPreconditionError(absl::StrCat("--device=", device, ": ", engine.status().message(),
                                                        "; a LibTorch with CUDA could run it, but this one has none. "
                                                        "Use --device=cpu"));
    }
  }
  return MakeBatched(checkpoint, options, device);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> MakeEngine(const PlainCheckpoint& checkpoint, const EngineOptions& options) {
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
    return absl::InternalError(absl::StrCat("cannot prepare the model on ", device, ": ", e.what()));
  }
}

}  // namespace denoised
