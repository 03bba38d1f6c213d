// File: request_validation.h
//
// From a GenerateDigitRequest, which may hold anything, to a DrawRequest, which is right.
//
//   absl::StatusOr<ValidRequest> valid = ValidateRequest(request, metadata, schedule, 100, random_seed);
//
// Pure and thread-safe.
#ifndef DENOISED_SERVER_SERVICE_REQUEST_VALIDATION_H_
#define DENOISED_SERVER_SERVICE_REQUEST_VALIDATION_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "common/diffusion/noise_schedule.h"
#include "common/image/resize.h"
#include "common/model/model_metadata.h"
#include "denoised/v1/digit_service.pb.h"
#include "server/scheduler/scheduler.h"

namespace denoised {

// How pixels become PNGs.
struct PictureFormat {
  int size = 256;  // pixels, square
  Interpolation interpolation = Interpolation::kCubic;
};

struct ValidRequest {
  DrawRequest draw;  // its deadline and client are not set here
  PictureFormat format;
};

// Fills in the defaults of design and proto; `random_seed` is used where the request has no seed. INVALID_ARGUMENT
// (BadRequestStatus) that names every field that is out of range, its limit and what it was; classes by class_lookup.h.
// One that is too long as a whole (request_size.h) is not read any further.
absl::StatusOr<ValidRequest> ValidateRequest(const v1::GenerateDigitRequest& request, const ModelMetadata& model,
                                             const NoiseSchedule& schedule, uint32_t max_images, uint64_t random_seed);

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVICE_REQUEST_VALIDATION_H_
