// File: self_test.h
//
// Engines that have proved themselves before they serve: each draws golden rows (../diffusion/golden_draw.h), which are
// compared with a run of the same checkpoint by LibTorch's interpreter, in fp32 on the CPU, one image at a time. That
// run is compared in turn with what the checkpoint says it drew when it was written: so a library or a processor that
// computes wrongly is found even if all engines here are of one mind.
//
//   DENOISED_ASSIGN_OR_RETURN(const GoldenReference reference, DrawCheckedReference(checkpoint));
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
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/golden_reference.h"
#include "common/diffusion/engine.h"
#include "common/engine/make_engine.h"

namespace denoised {

// DrawReference, compared with the golden draw that the checkpoint carries, if it carries one. DATA_LOSS, saying which
// image differs by how much and what to do, if they are further apart than LargestRms in fp32.
absl::StatusOr<GoldenReference> DrawCheckedReference(const Checkpoint& checkpoint);

// How far, as a root mean square of an image's pixels in [-1, 1], an engine of this precision may be from the
// reference.
float LargestRms(Precision precision);

using EngineMaker = std::function<absl::StatusOr<std::unique_ptr<Engine>>(const Checkpoint&, const EngineOptions&)>;

// MakeEngine, and CheckEngine with what is made. INTERNAL, saying how it failed, if the engine is not to be trusted.
absl::StatusOr<std::unique_ptr<Engine>> MakeCheckedEngine(const Checkpoint& checkpoint,
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
