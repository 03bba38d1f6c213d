// File: load_serving_model.h
//
// A model to serve from a checkpoint file: the one place of the server that knows LibTorch.
//
//   absl::StatusOr<std::shared_ptr<ServingModel>> model =
//       LoadServingModel({.checkpoint = "models/mnist.pt"}, &metrics);
//
// Thread-safe.
#ifndef DENOISED_SERVER_LOADING_LOAD_SERVING_MODEL_H_
#define DENOISED_SERVER_LOADING_LOAD_SERVING_MODEL_H_

#include <memory>

#include "absl/status/statusor.h"
#include "server/service/serving_model.h"

namespace denoised {

// Reads the checkpoint and makes the engine. Errors of LoadCheckpoint and MakeEngine. `observer` may be null and
// outlives the model.
absl::StatusOr<std::shared_ptr<ServingModel>> LoadServingModel(const ServingModelOptions& options,
                                                               SchedulerObserver* observer);

}  // namespace denoised

#endif  // DENOISED_SERVER_LOADING_LOAD_SERVING_MODEL_H_
