// File: self_test.h
//
// Engines that have proved themselves before they serve: each draws golden rows (../diffusion/golden_draw.h), which are
// compared with what LibTorch's interpreter drew of them in fp32 on the CPU, one image at a time: when the checkpoint
// was written (../model/golden_record.h), or here and now (../checkpoint/golden_reference.h).
//
//   for (const EngineOptions& candidate : EngineCandidates(options)) {
//     absl::StatusOr<std::unique_ptr<Engine>> engine = MakeCheckedEngine(checkpoint, reference, candidate);
//     ...
//   }
#ifndef DENOISED_COMMON_ENGINE_SELF_TEST_H_
#define DENOISED_COMMON_ENGINE_SELF_TEST_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/diffusion/engine.h"
#include "common/diffusion/golden_draw.h"
#include "common/engine/make_engine.h"
#include "common/weights/plain_checkpoint.h"

namespace denoised {

using EngineMaker =
    std::function<absl::StatusOr<std::unique_ptr<Engine>>(const PlainCheckpoint&, const EngineOptions&)>;

// MakeEngine, and CheckEngine with what is made. INTERNAL, saying how it failed, if the engine is not to be trusted.
absl::StatusOr<std::unique_ptr<Engine>> MakeCheckedEngine(const PlainCheckpoint& checkpoint,
                                                          const GoldenReference& reference,
                                                          const EngineOptions& options,
                                                          const EngineMaker& make = MakeEngine);

// What to try one after the other. With an explicit device there is one; with "auto" the first CUDA device, if there is
// one, then the CPU, then the CPU in fp32, then LibTorch there, as far as options.precision leaves that open. Errors of
// ResolveDevice. Devices are as ResolveDevice names them.
absl::StatusOr<std::vector<EngineOptions>> EngineCandidates(const EngineOptions& options);

// "cuda:0", "cpu in fp32" and so on.
std::string CandidateName(const EngineOptions& candidate);

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_SELF_TEST_H_
