#include "common/engine/cuda/cuda_engine.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/diffusion/image_state.h"
#include "common/engine/cuda/cuda_kernel.h"
#include "common/engine/cuda/cuda_rows.h"
#include "common/image/image.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

using cuda_step::Arguments;
using cuda_step::BlockMemory;
using cuda_step::Row;

constexpr int kOldestMajor = 8;  // compute capability that the kernel is compiled for

absl::Status ToStatus(cudaError_t error) {
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("the GPU failed: ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")"));
}

// Memory of the GPU, or of the host where the GPU reads it without the CPU's help.
class Memory {
 public:
  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() {
    if (data_ == nullptr) return;
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
    if (event_ != nullptr) cudaEventDestroy(event_);
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
        max_images_(options.max_images > 0 ? std::min(options.max_images, options.num_slots) : options.num_slots) {}
  ~CudaEngine() override {
    if (stream_ == nullptr) return;
    cudaSetDevice(options_.device);
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }

  absl::Status Prepare(const NetworkProgram& program) {
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaSetDevice(options_.device)));
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaGetDeviceProperties(&properties_, options_.device)));
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)));
    DENOISED_RETURN_IF_ERROR(Upload(program));
    DENOISED_RETURN_IF_ERROR(ChooseMemory(program));
    DENOISED_RETURN_IF_ERROR(rows_on_host_.Allocate(max_images_ * sizeof(Row), /*on_host=*/true));
    DENOISED_RETURN_IF_ERROR(rows_.Allocate(max_images_ * sizeof(Row)));
    DENOISED_RETURN_IF_ERROR(begin_.Create());
    DENOISED_RETURN_IF_ERROR(end_.Create());
    DENOISED_RETURN_IF_ERROR(frame_.Allocate(kModelPixels * sizeof(float), /*on_host=*/true));
    return WarmUp();
  }

  int num_slots() const override { return options_.num_slots; }
  // NOTE: noise and update are inside: they are part of the kernel.
  double network_seconds() const override { return seconds_; }

  std::string Description() const override {
    return absl::StrFormat(
        "one kernel on %s (sm_%d%d), %s, activations in %s memory, %d image%s to a block; a step of 1 image takes "
        "%.3f ms, of %d %.3f ms",
        properties_.name, properties_.major, properties_.minor, sizeof(T) == sizeof(Half) ? "fp16" : "fp32",
        activations_in_shared_memory_ ? "shared" : "global", rows_per_block_, rows_per_block_ == 1 ? "" : "s",
        1e3 * seconds_of_one_, max_images_, 1e3 * seconds_of_all_);
  }

  absl::Status Step(absl::Span<const StepRow> rows) override {
    if (rows.empty()) return absl::OkStatus();
    const absl::Status status = QueueAndWait(rows);
    if (!status.ok()) cudaStreamSynchronize(stream_);  // what was queued still reads this step's rows
    return status;
  }

  absl::Status Read(int slot, FrameKind kind, absl::Span<float> pixels) override {
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaSetDevice(options_.device)));
    const float* from = kind == FrameKind::kNoisy ? arguments_.x : arguments_.x0;
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaMemcpyAsync(frame_.As<float>(), from + int64_t{slot} * kModelPixels,
                                                      kModelPixels * sizeof(float), cudaMemcpyDeviceToHost, stream_)));
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaStreamSynchronize(stream_)));
    std::copy_n(frame_.As<float>(), kModelPixels, pixels.begin());
    return CheckFinite(pixels);
  }

 private:
  absl::Status QueueAndWait(absl::Span<const StepRow> rows) {
    if (static_cast<int>(rows.size()) > max_images_) {
      return absl::InternalError(
          absl::StrCat("a step of ", rows.size(), " images, where the engine was made for ", max_images_, " at most"));
    }
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaSetDevice(options_.device)));
    Row* to = rows_on_host_.As<Row>();
    for (const StepRow& row : rows) *to++ = cuda_step::ToRow(row, options_);
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaMemcpyAsync(rows_.As<Row>(), rows_on_host_.As<Row>(),
                                                      rows.size() * sizeof(Row), cudaMemcpyHostToDevice, stream_)));
    Arguments<T> arguments = arguments_;
    arguments.rows = rows_.As<Row>();
    arguments.num_rows = static_cast<int>(rows.size());
    arguments.rows_per_block = RowsPerBlock(arguments.num_rows);
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaEventRecord(begin_.get(), stream_)));
    DENOISED_RETURN_IF_ERROR(
        ToStatus(cuda_step::LaunchStep(arguments, SharedBytes(arguments.rows_per_block), stream_)));
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaEventRecord(end_.get(), stream_)));
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaEventSynchronize(end_.get())));
    float milliseconds = 0;
    DENOISED_RETURN_IF_ERROR(ToStatus(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get())));
    seconds_ += milliseconds / 1e3;
    return absl::OkStatus();
  }

  // As few images to a block as all blocks can run at once with, up to what is fastest for many.
  int RowsPerBlock(int images) const {
    if (options_.images_per_block > 0) return rows_per_block_;
    int rows = 1;
    while (rows < rows_per_block_ && (images + rows - 1) / rows > blocks_at_once_) rows *= 2;
    return rows;
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
    arguments_.operations = operations_.As<Operation>();
    arguments_.weights = weights_.As<T>();
    arguments_.constants = constants_.As<float>();
    arguments_.conditioning = conditioning_.As<float>();
    arguments_.x = x_.As<float>();
    arguments_.x0 = x0_.As<float>();
    // The copies were not queued in the stream that the kernel runs in.
    return ToStatus(cudaStreamSynchronize(nullptr));
  }

  int SharedBytes(int rows_per_block) const {
    return static_cast<int>(BlockMemory::Bytes(
        arguments_.num_operations, rows_per_block, arguments_.norm_groups,
        activations_in_shared_memory_ ? rows_per_block * arguments_.values_per_image : 0, sizeof(T)));
  }

  // Where activations lie, and for how many images a block has room.
  absl::Status ChooseMemory(const NetworkProgram& program) {
    const auto limit = static_cast<int>(properties_.sharedMemPerBlockOptin);
    activations_in_shared_memory_ = SharedBytes(1) <= limit;
    if (!activations_in_shared_memory_) {
      DENOISED_RETURN_IF_ERROR(activations_.Allocate(max_images_ * program.values_per_image * sizeof(T)));
      arguments_.activations = activations_.As<T>();
    }
    while (most_rows_per_block_ < kMostRowsPerBlock && SharedBytes(2 * most_rows_per_block_) <= limit) {
      most_rows_per_block_ *= 2;
    }
    DENOISED_RETURN_IF_ERROR(ToStatus(cuda_step::AllowSharedMemory<T>(limit)));
    int blocks = 0;
    DENOISED_RETURN_IF_ERROR(ToStatus(cuda_step::BlocksPerMultiprocessor<T>(SharedBytes(1), &blocks)));
    blocks_at_once_ = std::max(blocks, 1) * properties_.multiProcessorCount;
    return absl::OkStatus();
  }

  // Runs one image and all of them, the latter with each possible number of images to a block, and keeps the
  // fastest.
  absl::Status WarmUp() {
    const StepPlan plan = {{.timestep = 0, .lo = -1, .hi = 1}};
    std::vector<StepRow> rows;
    for (int slot = 0; slot < max_images_; ++slot) rows.push_back({.slot = slot, .plan = &plan});
    DENOISED_ASSIGN_OR_RETURN(seconds_of_one_, SecondsPerStep(absl::MakeSpan(rows).first(1)));
    int best = 0, wanted = 0;
    if (options_.images_per_block > 0) {
      wanted = std::min(static_cast<int>(std::bit_floor(static_cast<unsigned>(options_.images_per_block))),
                        most_rows_per_block_);
    }
    for (rows_per_block_ = 1; rows_per_block_ <= most_rows_per_block_; rows_per_block_ *= 2) {
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
    constexpr int kSteps = 20;
    DENOISED_RETURN_IF_ERROR(Step(rows));
    const double before = seconds_;
    for (int i = 0; i < kSteps; ++i) DENOISED_RETURN_IF_ERROR(Step(rows));
    return (seconds_ - before) / kSteps;
  }

  static constexpr int kMostRowsPerBlock = 4;

  // Constant after Prepare.
  const CudaEngineOptions options_;
  const int max_images_;
  cudaDeviceProp properties_ = {};
  cudaStream_t stream_ = nullptr;  // everything happens in its order
  Arguments<T> arguments_;         // of every step, but for its rows
  Memory operations_, weights_, constants_, conditioning_, activations_;
  bool activations_in_shared_memory_ = true;
  int rows_per_block_ = 1, most_rows_per_block_ = 1;
  int blocks_at_once_ = 1;  // of one image each
  double seconds_of_one_ = 0, seconds_of_all_ = 0;

  Memory x_, x0_;               // [num_slots, kModelPixels]
  Memory frame_;                // [kModelPixels] on the host
  Memory rows_on_host_, rows_;  // [max_images] of Row
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
    if (major < kOldestMajor) return device;
  }
  return count;
}

bool HasCudaKernel() { return true; }

absl::StatusOr<std::unique_ptr<Engine>> MakeCudaEngine(const NetworkProgram& program,
                                                       const CudaEngineOptions& options) {
  if (options.device >= CudaDeviceCount()) {
    return absl::UnimplementedError(
        "the CUDA kernel needs a GPU of compute capability 8.0 or later and a driver as new as its CUDA Toolkit");
  }
  return program.precision == Precision::kFp32 ? Make<float>(program, options) : Make<Half>(program, options);
}

}  // namespace denoised
