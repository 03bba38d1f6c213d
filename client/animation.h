// File: animation.h
//
// Moving pictures of a denoising chain, for people to send on: GIF, which everything shows, and APNG, which keeps all
// 256 greys in fewer bytes than one would think.
//
//   absl::StatusOr<std::string> gif = EncodeGif(frames, {.frame_ms = 60, .last_ms = 2000});
//
// Both repeat for ever. Frames are of equal size, one at least; INVALID_ARGUMENT otherwise. Pure and thread-safe.
#ifndef DENOISED_CLIENT_ANIMATION_H_
#define DENOISED_CLIENT_ANIMATION_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/image/image.h"

namespace denoised {

struct AnimationTiming {
  int frame_ms = 60;   // how long a frame is shown; GIF counts in hundredths of a second
  int last_ms = 2000;  // how long the last one is, which is the finished picture
};

absl::StatusOr<std::string> EncodeGif(const std::vector<GreyImage>& frames, const AnimationTiming& timing);

// A PNG whose first frame is what readers that know no animation show (https://www.w3.org/TR/png-3/, chunks acTL, fcTL
// and fdAT).
absl::StatusOr<std::string> EncodeApng(const std::vector<GreyImage>& frames, const AnimationTiming& timing);

}  // namespace denoised

#endif  // DENOISED_CLIENT_ANIMATION_H_
