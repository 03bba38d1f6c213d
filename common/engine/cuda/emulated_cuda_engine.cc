// MakeEmulatedCudaEngine of cuda_engine.h.
#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "common/diffusion/image_state.h"
#include "common/engine/cuda/cuda_engine.h"
#include "common/engine/cuda/cuda_rows.h"
#include "common/engine/cuda/cuda_step.h"
#include "common/engine/cuda/gathered_frames.h"
#include "common/image/image.h"
#include "common/support/worker_pool.h"

namespace denoised {
namespace {

using cuda_step::Arguments;
using cuda_step::BlockMemory;
using cuda_step::BlockStep;
using cuda_step::FrameCode;
using cuda_step::GatheredFrames;
using cuda_step::PackedRows;

constexpr int64_t kRubbish = -1;  // no numbers, as Halfs or floats

template <typename T>
class EmulatedCudaEngine : public Engine {
 public:
  EmulatedCudaEngine(const NetworkProgram& program, const CudaEngineOptions& options)
      : options_(options),
        operations_(program.operations),
        weights_(cuda_step::RoundedWeights<T>(program)),
        constants_(program.constants),
        conditioning_(program.conditioning.values),
        state_(options.num_slots),
        not_finite_(options.num_slots),
        gathered_(options.num_slots),
        frames_(GatheredFrames::MostFrames(options.num_slots) * kModelPixels),
        shared_(options.num_threads),
        pool_(options.num_threads) {
    arguments_ = cuda_step::ShapeOf<T>(program);
    arguments_.operations = operations_.data();
    arguments_.weights = weights_.data();
    arguments_.constants = constants_.data();
    arguments_.conditioning = conditioning_.data();
    arguments_.x = state_.x(0);
    arguments_.x0 = state_.x0(0);
    arguments_.not_finite = not_finite_.data();
    arguments_.rows_at_once = std::clamp(options.images_per_block, 1, cuda_step::kMaxRowsAtOnce);
    e_.resize(size_t{2} * options.num_slots * kModelPixels);
    arguments_.e = e_.data();
    const int64_t bytes = BlockMemory::Bytes(arguments_, /*with_activations=*/true);
    for (std::vector<int64_t>& shared : shared_) shared.resize(bytes / sizeof(int64_t) + 1);
  }

  int num_slots() const override { return options_.num_slots; }

  absl::Status Step(absl::Span<const StepRow> rows) override {
    gathered_.Forget();
    for (const StepRow& row : rows) {
      if (row.step == 0) not_finite_[static_cast<size_t>(row.slot)] = 0;
    }
    PackRows(rows, /*num_steps=*/1, std::max(options_.images_per_block, 1), options_, packed_);
    arguments_.rows = packed_.rows.data();
    arguments_.num_rows = static_cast<int>(packed_.rows.size());
    arguments_.coefficients = packed_.coefficients.data();
    arguments_.first_rows = packed_.first_rows.data();
    arguments_.num_blocks = packed_.num_blocks();
    const int blocks = arguments_.num_blocks, used = std::min(pool_.size(), blocks);
    if (used == 0) return absl::OkStatus();
    pool_.Run(used, [&](int worker) {
      std::minstd_rand random(static_cast<uint32_t>(options_.disorder + worker));
      cuda_step::turns_at_random = options_.disorder != 0 ? &random : nullptr;
      for (int block = worker; block < blocks; block += used) {
        if (options_.disorder != 0) std::fill(shared_[worker].begin(), shared_[worker].end(), kRubbish);
        BlockStep<T, /*kShared=*/true>(arguments_, block, shared_[worker].data()).Run();
      }
      cuda_step::turns_at_random = nullptr;
    });
    return absl::OkStatus();
  }

  bool Finite(int slot) const override { return not_finite_[static_cast<size_t>(slot)] == 0; }

  void Prefetch(absl::Span<const WantedFrame> frames) override {
    std::vector<int32_t> codes;
    for (const WantedFrame& frame : frames) codes.push_back(FrameCode(frame));
    gathered_.Forget();
    for (int block = 0; block < static_cast<int>(codes.size()); ++block) {
      cuda_step::GatherFrame(arguments_, codes.data(), block, frames_.data());
      gathered_.Put(codes[static_cast<size_t>(block)], block);
    }
  }

  absl::Status Read(int slot, FrameKind kind, absl::Span<float> pixels) override {
    const WantedFrame frame = {.slot = slot, .kind = kind};
    if (!gathered_.Find(FrameCode(frame)).has_value()) Prefetch({frame});
    const int place = *gathered_.Find(FrameCode(frame));
    std::copy_n(frames_.begin() + int64_t{place} * kModelPixels, kModelPixels, pixels.begin());
    return CheckFinite(pixels);
  }

  std::string Description() const override { return "the CUDA kernel emulated on the CPU"; }

 private:
  const CudaEngineOptions options_;
  const std::vector<Operation> operations_;
  const std::vector<T> weights_;
  const std::vector<float> constants_, conditioning_;
  Arguments<T> arguments_;
  PackedRows packed_;
  std::vector<float> e_;
  ImageState state_;
  std::vector<uint8_t> not_finite_;           // by slot
  GatheredFrames gathered_;                   // of frames_
  std::vector<float> frames_;                 // [frames, kModelPixels]
  std::vector<std::vector<int64_t>> shared_;  // by worker
  WorkerPool pool_;                           // NOTE: last, so that its threads end before what they use
};

}  // namespace

std::unique_ptr<Engine> MakeEmulatedCudaEngine(const NetworkProgram& program, const CudaEngineOptions& options) {
  if (program.precision == Precision::kFp32) return std::make_unique<EmulatedCudaEngine<float>>(program, options);
  return std::make_unique<EmulatedCudaEngine<Half>>(program, options);
}

}  // namespace denoised
