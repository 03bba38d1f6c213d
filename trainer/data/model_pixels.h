// File: model_pixels.h
//
// From images of any size to those that the network sees. Pure and thread-safe.
#ifndef DENOISED_TRAINER_DATA_MODEL_PIXELS_H_
#define DENOISED_TRAINER_DATA_MODEL_PIXELS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/image/image.h"

namespace denoised {

// INVALID_ARGUMENT, which names `path`, unless they are square, of 8x8 to 1024x1024 pixels.
absl::Status CheckImageSize(const std::string& path, uint64_t width, uint64_t height);

// Appends kModelPixels bytes: the image as it is at kModelSize, else resized bilinearly; of one that is larger by two
// or more, means of 2x2 pixels first, so that no line is lost between pixels.
absl::Status AppendModelPixels(const GreyImage& image, std::vector<uint8_t>& pixels);

}  // namespace denoised

#endif  // DENOISED_TRAINER_DATA_MODEL_PIXELS_H_
