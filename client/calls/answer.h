// File: answer.h
//
// What a client makes of the parts of a server's answer.
//
//   DENOISED_ASSIGN_OR_RETURN(const GreyImage image, ReadPicture(event.image().png()));
//   ...
//   DENOISED_RETURN_IF_ERROR(CheckComplete(images.size(), request.count()));
//
// Errors are INTERNAL, and sentences for the person at the command line, as those of digit_client.h. Pure functions.
#ifndef DENOISED_CLIENT_CALLS_ANSWER_H_
#define DENOISED_CLIENT_CALLS_ANSWER_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/image/image.h"
#include "google/protobuf/duration.pb.h"

namespace denoised {

// The pixels of a preview or a finished image.
absl::StatusOr<GreyImage> ReadPicture(const std::string& png);

// An error if a call that ended well brought fewer images than it was asked for.
absl::Status CheckComplete(size_t images, uint32_t count);

double Seconds(const google::protobuf::Duration& duration);

}  // namespace denoised

#endif  // DENOISED_CLIENT_CALLS_ANSWER_H_
