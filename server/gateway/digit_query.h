// File: digit_query.h
//
// A request for one picture as an address says it, and as a JSON body does.
//
//   ParseDigitQuery("7", "seed=42&sampler=ddim&steps=50")   // of GET /v1/digits/7.png?seed=42&sampler=ddim&steps=50
//   ParseDigitQuery("Ankle%20boot", "")                     // a class by its name
//   ParseDigitBody("{\"digit\": 7}")
//
// Only what cannot be read is refused here; whether the values make sense the service says itself.
//
// Pure and thread-safe.
#ifndef DENOISED_SERVER_GATEWAY_DIGIT_QUERY_H_
#define DENOISED_SERVER_GATEWAY_DIGIT_QUERY_H_

#include <string>

#include "absl/status/statusor.h"
#include "denoised/v1/digit_service.pb.h"

namespace denoised {

// `picture` is the name of the picture without its ending, as it was sent. INVALID_ARGUMENT, which names the parameter
// and what it may be.
absl::StatusOr<v1::GenerateDigitRequest> ParseDigitQuery(const std::string& picture, const std::string& query);

// Proto3 JSON. INVALID_ARGUMENT for what is none, and for unknown fields.
absl::StatusOr<v1::GenerateDigitRequest> ParseDigitBody(const std::string& body);

}  // namespace denoised

#endif  // DENOISED_SERVER_GATEWAY_DIGIT_QUERY_H_
