// File: evaluation_sheets.h
//
// What denoise-eval has seen, as pictures for people.
//
//   absl::StatusOr<std::string> png = DrawContactSheet(drawing.pixels, drawing.labels);
//
// Images are kModelPixels bytes each. Pure and thread-safe; OpenCV's exceptions end here, as INTERNAL.
#ifndef DENOISED_TRAINER_EVALUATION_EVALUATION_SHEETS_H_
#define DENOISED_TRAINER_EVALUATION_EVALUATION_SHEETS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "trainer/judges/figures.h"

namespace denoised {

// A PNG with a row for each digit: the first 20 images of it, or as many as there are.
absl::StatusOr<std::string> DrawContactSheet(absl::Span<const uint8_t> pixels, absl::Span<const uint8_t> labels);

// Images with their nearest training images.
struct NeighbourSet {
  std::string title;
  absl::Span<const uint8_t> pixels;         // N images
  absl::Span<const uint8_t> labels;         // [N]
  absl::Span<const Neighbours> neighbours;  // [N]
};

// A PNG in two columns, generated images and, as a yardstick, test images: the 16 that are closest to a training image,
// and the closest of each digit, because ones are close to everything. Each stands beside its nearest and second
// nearest training image, over their distance and the ratio of the two distances.
absl::StatusOr<std::string> DrawNeighbourSheet(const NeighbourSet& generated, const NeighbourSet& test,
                                               absl::Span<const uint8_t> training_pixels);

}  // namespace denoised

#endif  // DENOISED_TRAINER_EVALUATION_EVALUATION_SHEETS_H_
