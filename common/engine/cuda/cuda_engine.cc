#include "common/engine/cuda/cuda_engine.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/diffusion/image_state.h"
#include "common/engine/cuda/cuda_kernel.h"
#include "common/engine/cuda/cuda_rows.h"
#include "common/engine/cuda/cuda_trouble.h"
#include "common/engine/cuda/gathered_frames.h"
#include "common/image/image.h"
#include "common/support/counted.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

using cuda_step::Arguments;
using cuda_step::BlockMemory;
using cuda_step::FrameCode;
using cuda_step::GatheredFrames;
using cuda_step::PackedRows;
using cuda_step::Row;

absl::Status ToStatus(cudaError_t error) {
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("the GPU failed: ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")"));
}

// Whether a launch of this process has never ended: whoever frees something of the GPU's would wait for it for ever.
std::atomic<bool> gpu_hangs = false;

// Memory of the GPU, or of the host where the GPU reads it without the CPU's help.
class Memory {
 public:
  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() {
    if (data_ == nullptr || gpu_hangs) return;
    on_host_ ? cudaFreeHost(data_) : cudaFree(data_);
  }

  absl::Status Allocate(size_t bytes, bool on_host = false) {
    on_host_ = on_host;
    const cudaError_t error = on_host ? cudaMallocHost(&data_, bytes) : cudaMalloc(&data_, bytes);
    if (error != cudaErrorMemoryAllocation) return ToStatus(error);
    cudaGetLastError();  // it is dealt with
    return absl::InternalError(absl::StrFormat("the %s has no room for %d MiB more; use a smaller --max_batch_rows",
                                               on_host ? "host" : "GPU", (bytes >> 20) + 1));
  }

  template <typename Value>
  absl::Status Fill(const std::vector<Value>& values) {
    DENOISED_RETURN_IF_ERROR(Allocate(values.size() * sizeof(Value)));
    return ToStatus(cudaMemcpy(data_, values.data(), values.size() * sizeof(Value), cudaMemcpyHostToDevice));
  }

  template <typename Value>
  Value* As() const {
    return static_cast<Value*>(data_);
  }

 private:
  void* data_ = nullptr;
  bool on_host_ = false;
};

class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() {
    if (event_ != nullptr && !gpu_hangs) cudaEventDestroy(event_);
  }
  absl::Status Create() { return ToStatus(cudaEventCreate(&event_)); }
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

template <typename T>
class CudaEngine : public Engine {
 public:
  explicit CudaEngine(const CudaEngineOptions& options)
      : options_(options),
        max_images_(options.max_images > 0 ? std::min(options.max_images, options.num_slots) : options.num_slots),
        gathered_(options.num_slots) {}
  ~CudaEngine() override {
    if (stream_ == nullptr || gpu_hangs) return;
    cudaSetDevice(options_.device);
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }

  absl::Status Prepare(const NetworkProgram& program) {
    if (gpu_hangs) return HangsStatus();
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaSetDevice(options_.device)));
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaGetDeviceProperties(&properties_, options_.device)));
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)));
    DENOISED_RETURN_IF_ERROR(Upload(program));
    DENOISED_RETURN_IF_ERROR(ChooseMemory());
    DENOISED_RETURN_IF_ERROR(told_on_host_.Allocate(ToldBytes(), /*on_host=*/true));
    DENOISED_RETURN_IF_ERROR(told_.Allocate(ToldBytes()));
    DENOISED_RETURN_IF_ERROR(e_.Allocate(size_t{kModelPixels} * max_rows() * sizeof(float)));
    arguments_.e = e_.As<float>();
    DENOISED_RETURN_IF_ERROR(begin_.Create());
    DENOISED_RETURN_IF_ERROR(end_.Create());
    const size_t most_frames = GatheredFrames::MostFrames(options_.num_slots);
    DENOISED_RETURN_IF_ERROR(wanted_.Allocate(most_frames * sizeof(int32_t), /*on_host=*/true));
    DENOISED_RETURN_IF_ERROR(frames_.Allocate(most_frames * kModelPixels * sizeof(float), /*on_host=*/true));
    return WarmUp();
  }

  int num_slots() const override { return options_.num_slots; }
  // NOTE: noise and update are inside: they are part of the kernel.
  double network_seconds() const override { return seconds_; }

  std::string Description() const override {
    return absl::StrFormat(
        "one kernel on %s (sm_%d%d), %s, activations in %s memory, %s to a block; a step of 1 image takes "
        "%.3f ms, of %d %.3f ms",
        properties_.name, properties_.major, properties_.minor, sizeof(T) == sizeof(Half) ? "fp16" : "fp32",
        arguments_.activations == nullptr ? "shared" : "global", Counted(rows_per_block_, "image"),
        1e3 * seconds_of_one_, max_images_, 1e3 * seconds_of_all_);
  }

  absl::Status Step(absl::Span<const StepRow> rows) override { return Steps(rows, 1); }

  absl::Status Steps(absl::Span<const StepRow> rows, int count) override {
    if (rows.empty()) return absl::OkStatus();
    if (gpu_hangs) return HangsStatus();
    gathered_.Forget();
    for (const StepRow& row : rows) {
      if (row.step == 0) arguments_.not_finite[row.slot] = 0;
    }
    const absl::Status status = QueueAndWait(rows, count);
    if (!status.ok() && !gpu_hangs) cudaStreamSynchronize(stream_);  // what was queued still reads this step's rows
    return status;
  }

  int StepsAtOnce(int network_rows) const override {
    const double waves = std::ceil(network_rows / static_cast<double>(max_images_)), seconds = seconds_of_all_ * waves;
    const bool few = network_rows <= properties_.multiProcessorCount;
    return std::clamp(static_cast<int>(kSecondsAtOnce / (few ? seconds_of_one_ : seconds)), 1, kMostStepsAtOnce);
  }

  bool Finite(int slot) const override { return arguments_.not_finite[slot] == 0; }

  void Prefetch(absl::Span<const WantedFrame> frames) override { Gather(frames).IgnoreError(); }

  absl::Status Read(int slot, FrameKind kind, absl::Span<float> pixels) override {
    const WantedFrame frame = {.slot = slot, .kind = kind};
    if (!gathered_.Find(FrameCode(frame)).has_value()) DENOISED_RETURN_IF_ERROR(Gather({frame}));
    std::copy_n(frames_.As<float>() + int64_t{*gathered_.Find(FrameCode(frame))} * kModelPixels, kModelPixels,
                pixels.begin());
    return CheckFinite(pixels);
  }

 private:
  // Brings these frames, each of them once, instead of those that are here.
  absl::Status Gather(absl::Span<const WantedFrame> frames) {
    if (gpu_hangs) return HangsStatus();
    gathered_.Forget();
    if (frames.empty()) return absl::OkStatus();
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaSetDevice(options_.device)));
    std::transform(frames.begin(), frames.end(), wanted_.As<int32_t>(), FrameCode);
    const int count = static_cast<int>(frames.size());
    DENOISED_RETURN_IF_ERROR(
        ToStatus(cuda_step::LaunchGather(arguments_, wanted_.As<int32_t>(), count, frames_.As<float>(), stream_)));
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaEventRecord(end_.get(), stream_)));
    DENOISED_RETURN_IF_ERROR(AwaitEnd());
    for (int place = 0; place < count; ++place) gathered_.Put(wanted_.As<int32_t>()[place], place);
    return absl::OkStatus();
  }

  absl::Status QueueAndWait(absl::Span<const StepRow> rows, int steps) {
    if (steps > kMostStepsAtOnce) {
      DENOISED_RETURN_IF_ERROR(QueueAndWait(rows, kMostStepsAtOnce));
      std::vector<StepRow> rest(rows.begin(), rows.end());
      for (StepRow& row : rest) row.step += kMostStepsAtOnce;
      return QueueAndWait(rest, steps - kMostStepsAtOnce);
    }
    if (static_cast<int>(rows.size()) > max_images_) {
      return absl::InternalError(
          absl::StrCat("a step of ", rows.size(), " images, where the engine was made for ", max_images_, " at most"));
    }
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaSetDevice(options_.device)));
    PackRows(rows, steps, RowsPerBlock(NetworkRows(rows)), options_, packed_);
    Arguments<T> arguments = arguments_;
    DENOISED_RETURN_IF_ERROR(Tell(arguments));
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaEventRecord(begin_.get(), stream_)));
    DENOISED_RETURN_IF_ERROR(ToStatus(cuda_step::LaunchSteps(arguments, SharedBytes(), stream_)));
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaEventRecord(end_.get(), stream_)));
    DENOISED_RETURN_IF_ERROR(AwaitEnd());
    float milliseconds = 0;
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get())));
    seconds_ += milliseconds / 1e3;
    return absl::OkStatus();
  }

  // Asks again and again, as the CUDA runtime does by itself, but not for ever.
  absl::Status AwaitEnd() {
    const auto give_up = std::chrono::steady_clock::now() + kPatience;
    bool in_time = true;
    for (;;) {
      // NOTE: asked once more after the time is up: this process may have been stopped, and not the GPU.
      const cudaError_t state = cudaEventQuery(end_.get());
      if (state != cudaErrorNotReady) return ToStatus(state);
      if (!in_time) break;
      in_time = std::chrono::steady_clock::now() < give_up;
    }
    gpu_hangs = true;
    return HangsStatus();
  }

  static absl::Status HangsStatus() {
    return absl::InternalError(
        absl::StrFormat("the GPU has not ended a launch of a few steps within %d s and is not used any more; see what "
                        "nvidia-smi and the kernel's log say of it",
                        kPatience.count()));
  }

  // packed_, in one copy, and where it is then.
  absl::Status Tell(Arguments<T>& arguments) {
    size_t used = 0;
    const auto put = [&](const auto& values, auto& pointer) {
      const size_t bytes = values.size() * sizeof(values[0]);
      std::memcpy(told_on_host_.As<char>() + used, values.data(), bytes);
      pointer = reinterpret_cast<std::decay_t<decltype(pointer)>>(told_.As<char>() + used);
      used += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    };
    put(packed_.rows, arguments.rows);
    put(packed_.coefficients, arguments.coefficients);
    put(packed_.first_rows, arguments.first_rows);
    arguments.num_steps = static_cast<int>(packed_.coefficients.size() / packed_.rows.size());
    arguments.num_rows = static_cast<int>(packed_.rows.size());
    arguments.num_blocks = packed_.num_blocks();
    return ToStatus(cudaMemcpyAsync(told_.As<char>(), told_on_host_.As<char>(), used, cudaMemcpyHostToDevice, stream_));
  }

  int max_rows() const { return 2 * max_images_; }

  size_t ToldBytes() const {
    return max_rows() * (sizeof(Row) + kMostStepsAtOnce * sizeof(StepCoefficients) + sizeof(int32_t)) +
           sizeof(int32_t) + 3 * kAlignment;
  }

  // As few network rows to a block as all blocks can run at once with, up to what is fastest for many.
  int RowsPerBlock(int rows) const {
    if (options_.images_per_block > 0) return rows_per_block_;
    int per_block = 1;
    while (per_block < rows_per_block_ && (rows + per_block - 1) / per_block > properties_.multiProcessorCount) {
      per_block *= 2;
    }
    return per_block;
  }

  absl::Status Upload(const NetworkProgram& program) {
    arguments_ = cuda_step::ShapeOf<T>(program);
    DENOISED_RETURN_IF_ERROR(operations_.Fill(program.operations));
    DENOISED_RETURN_IF_ERROR(weights_.Fill(cuda_step::RoundedWeights<T>(program)));
    DENOISED_RETURN_IF_ERROR(constants_.Fill(program.constants));
    DENOISED_RETURN_IF_ERROR(conditioning_.Fill(program.conditioning.values));
    const size_t image_bytes = size_t{kModelPixels} * options_.num_slots * sizeof(float);
    DENOISED_RETURN_IF_ERROR(x_.Allocate(image_bytes));
    DENOISED_RETURN_IF_ERROR(x0_.Allocate(image_bytes));
    DENOISED_RETURN_IF_ERROR(not_finite_.Allocate(options_.num_slots, /*on_host=*/true));
    std::fill_n(not_finite_.As<uint8_t>(), options_.num_slots, uint8_t{0});
    arguments_.operations = operations_.As<Operation>();
    arguments_.weights = weights_.As<T>();
    arguments_.constants = constants_.As<float>();
    arguments_.conditioning = conditioning_.As<float>();
    arguments_.x = x_.As<float>();
    arguments_.x0 = x0_.As<float>();
    arguments_.not_finite = not_finite_.As<uint8_t>();
    // The copies were not queued in the stream that the kernel runs in.
    return ToStatus(cudaStreamSynchronize(nullptr));
  }

  int SharedBytes() const {
    return static_cast<int>(BlockMemory::Bytes(arguments_, /*with_activations=*/arguments_.activations == nullptr));
  }

  // Where activations lie, and for how many network rows a block has room.
  absl::Status ChooseMemory() {
    const auto limit = static_cast<int64_t>(properties_.sharedMemPerBlockOptin);
    for (arguments_.rows_at_once = cuda_step::kMaxRowsAtOnce; arguments_.rows_at_once > 0; --arguments_.rows_at_once) {
      if (BlockMemory::Bytes(arguments_, /*with_activations=*/true) <= limit) break;
    }
    if (arguments_.rows_at_once == 0) {
      arguments_.rows_at_once = 1;
      const size_t bytes = StretchValues(arguments_) * max_rows() * sizeof(T);
      DENOISED_RETURN_IF_ERROR(activations_.Allocate(bytes));
      DENOISED_RETURN_IF_ERROR(ToStatus(cudaMemset(activations_.As<T>(), 0, bytes)));
      DENOISED_RETURN_IF_ERROR(
          ToStatus(cudaStreamSynchronize(nullptr)));  // which the kernel's stream does not wait for
      arguments_.activations = activations_.As<T>();
    }
    return ToStatus(cuda_step::AllowSharedMemory<T>(static_cast<int>(limit)));
  }

  // Runs one image and all of them, the latter with each possible number of images to a block, and keeps the
  // fastest.
  absl::Status WarmUp() {
    const StepPlan plan = {{.timestep = 0, .lo = -1, .hi = 1}};
    std::vector<StepRow> rows;
    for (int slot = 0; slot < max_images_; ++slot) rows.push_back({.slot = slot, .plan = &plan});
    DENOISED_ASSIGN_OR_RETURN(seconds_of_one_, SecondsPerStep(absl::MakeSpan(rows).first(1)));
    int best = 0, wanted = 0;
    if (options_.images_per_block > 0) wanted = std::min(options_.images_per_block, arguments_.rows_at_once);
    for (rows_per_block_ = 1; rows_per_block_ <= arguments_.rows_at_once; rows_per_block_ *= 2) {
      if (wanted != 0 && rows_per_block_ != wanted) continue;
      DENOISED_ASSIGN_OR_RETURN(const double seconds, SecondsPerStep(rows));
      if (best != 0 && seconds > 0.97 * seconds_of_all_) continue;
      seconds_of_all_ = seconds;
      best = rows_per_block_;
    }
    rows_per_block_ = best;
    return absl::OkStatus();
  }

  // The mean of a few steps, after one that is not counted.
  absl::StatusOr<double> SecondsPerStep(absl::Span<const StepRow> rows) {
    constexpr int kSteps = 8;
    DENOISED_RETURN_IF_ERROR(Step(rows));
    const double before = seconds_;
    for (int i = 0; i < kSteps; ++i) DENOISED_RETURN_IF_ERROR(Step(rows));
    return (seconds_ - before) / kSteps;
  }

  static constexpr size_t kAlignment = 16;
  static constexpr std::chrono::seconds kPatience{10};
  // Of one launch: joining it takes as long.
  static constexpr double kSecondsAtOnce = 0.9e-3;
  static constexpr int kMostStepsAtOnce = 16;

  // Constant after Prepare.
  const CudaEngineOptions options_;
  const int max_images_;
  cudaDeviceProp properties_ = {};
  cudaStream_t stream_ = nullptr;  // everything happens in its order
  Arguments<T> arguments_;         // of every step, but for its rows
  Memory operations_, weights_, constants_, conditioning_, activations_;
  int rows_per_block_ = 1;
  double seconds_of_one_ = 0, seconds_of_all_ = 0;

  Memory x_, x0_;               // [num_slots, kModelPixels]
  Memory not_finite_;           // [num_slots] on the host
  Memory wanted_, frames_;      // on the host: codes, and [frames, kModelPixels]
  GatheredFrames gathered_;     // of frames_
  PackedRows packed_;           // of the launch
  Memory told_on_host_, told_;  // its contents
  Memory e_;                    // [max_rows(), kModelPixels]
  Event begin_, end_;           // of the kernel of a step
  double seconds_ = 0;
};

template <typename T>
absl::StatusOr<std::unique_ptr<Engine>> Make(const NetworkProgram& program, const CudaEngineOptions& options) {
  auto engine = std::make_unique<CudaEngine<T>>(options);
  DENOISED_RETURN_IF_ERROR(engine->Prepare(program));
  return engine;
}

}  // namespace

int CudaDeviceCount() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();  // it is dealt with
    return 0;
  }
  // Devices are numbered from 0, so those behind one that is too old are not counted either.
  for (int device = 0; device < count; ++device) {
    int major = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    if (major < kOldestCudaMajor) return device;
  }
  return count;
}

int CudaRowsThatFill(int device) {
  int multiprocessors = 0;
  if (cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) {
    cudaGetLastError();  // it is dealt with
    return 0;
  }
  return cuda_step::kMaxRowsAtOnce * multiprocessors;
}

std::string CudaTrouble() {
  CudaFacts facts;
  std::error_code ignored;
  facts.has_device_file = std::filesystem::exists("/dev/nvidiactl", ignored);
  cudaDriverGetVersion(&facts.driver_version);
  cudaRuntimeGetVersion(&facts.runtime_version);
  const cudaError_t error = cudaGetDeviceCount(&facts.devices);
  cudaDeviceProp properties = {};
  if (error != cudaSuccess) {
    facts.devices = 0;
    facts.error = cudaGetErrorString(error);
  } else if (facts.devices > 0 && cudaGetDeviceProperties(&properties, 0) == cudaSuccess) {
    facts.name = properties.name;
    facts.major = properties.major;
    facts.minor = properties.minor;
  }
  cudaGetLastError();  // it is dealt with
  return DescribeTrouble(facts);
}

bool HasCudaKernel() { return true; }

absl::StatusOr<std::unique_ptr<Engine>> MakeCudaEngine(const NetworkProgram& program,
                                                       const CudaEngineOptions& options) {
  if (options.device >= CudaDeviceCount()) {
    const std::string trouble = CudaTrouble();
    return absl::UnimplementedError(
        absl::StrCat("the CUDA kernel needs a GPU of compute capability 8.0 or later and a driver as new as its CUDA "
                     "Toolkit",
                     trouble.empty() ? "" : absl::StrCat(": ", trouble)));
  }
  return program.precision == Precision::kFp32 ? Make<float>(program, options) : Make<Half>(program, options);
}

}  // namespace denoised
