// File: request.h
//
// What denoise's flags ask of the server.
//
//   v1::GenerateDigitRequest request = MakeRequest(options);
//   AskForPreviews(options, ExpectedSteps(options, model.distilled_steps()), request);
//
// Pure functions; the server judges the values.
#ifndef DENOISED_CLIENT_REQUEST_H_
#define DENOISED_CLIENT_REQUEST_H_

#include <cstdint>

#include "client/options.h"
#include "denoised/v1/digit_service.pb.h"

namespace denoised {

// How many images one call asks for.
uint32_t ImagesWanted(const ClientOptions& options);

// Images of one class, without previews.
v1::GenerateDigitRequest MakeRequest(const ClientOptions& options);

// Adds the frames that someone will see, in files or on the terminal, of a chain of `steps`.
void AskForPreviews(const ClientOptions& options, uint32_t steps, v1::GenerateDigitRequest& request);

// Steps of one image, by a model that draws in `distilled_steps` alone (GetModelResponse), or else in any.
uint32_t ExpectedSteps(const ClientOptions& options, uint32_t distilled_steps);

}  // namespace denoised

#endif  // DENOISED_CLIENT_REQUEST_H_
