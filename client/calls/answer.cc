#include "client/calls/answer.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "common/image/png.h"
#include "common/support/clock.h"
#include "common/support/counted.h"
#include "google/protobuf/util/time_util.h"

namespace denoised {

absl::StatusOr<GreyImage> ReadPicture(const std::string& png) {
  absl::StatusOr<GreyImage> image = DecodePng(png);
  if (image.ok()) return image;
  return absl::InternalError(absl::StrCat("the server sent a picture that cannot be read: ", image.status().message()));
}

absl::Status CheckComplete(size_t images, uint32_t count) {
  if (images >= count) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the server ended the call after ", images, " of ", Counted(count, "image")));
}

double Seconds(const google::protobuf::Duration& duration) {
  return Seconds(std::chrono::nanoseconds(google::protobuf::util::TimeUtil::DurationToNanoseconds(duration)));
}

}  // namespace denoised
