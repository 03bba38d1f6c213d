// File: faulty_engine.h
//
// An engine that fails on purpose, for tests of everything around it: off unless --inject_fault asks for it.
//
//   DENOISED_ASSIGN_OR_RETURN(engine, InjectFault("hang@100", FaultTime::kServing, std::move(engine)));
//
//   wrong@N   the first N engines of this process draw other pixels, in their self-test already
//   fail@N    every step from the Nth on fails, those at start not counted
//   throw@N   every step from the Nth on throws an exception instead, which no engine ought to
//   hang@N    the Nth step never returns
//   poison@S  steps that have a row with seed S fail
//   nan@S     images with seed S stop being finite numbers
//   oom@N     steps of more than N network rows find no memory, those at start not counted
//
// Of several steps that are asked for at once, one that fails fails them all.
#ifndef DENOISED_SERVER_LOADING_FAULTY_ENGINE_H_
#define DENOISED_SERVER_LOADING_FAULTY_ENGINE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/diffusion/engine.h"

namespace denoised {

// When an engine gets its fault: before its self-test, or after it.
enum class FaultTime { kSelfTest, kServing };

// INVALID_ARGUMENT for a fault that there is not. An empty one, or one of the other time, changes nothing.
absl::StatusOr<std::unique_ptr<Engine>> InjectFault(const std::string& fault, FaultTime time,
                                                    std::unique_ptr<Engine> engine);

}  // namespace denoised

#endif  // DENOISED_SERVER_LOADING_FAULTY_ENGINE_H_
