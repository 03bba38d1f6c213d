// File: evaluation_sheets.h
//
// What denoise-eval has seen, as pictures for people.
//
//   absl::StatusOr<std::string> png = DrawContactSheet(drawing.pixels, drawing.labels, {"cat", "dog"});
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

// A PNG with a row for each class: its number and name, and the first 20 images of it, or as many as there are. More
// than 40 classes stand in several columns, with fewer images each.
absl::StatusOr<std::string> DrawContactSheet(absl::Span<const uint8_t> pixels, absl::Span<const uint8_t> labels,
                                             const std::vector<std::string>& class_names);

// Images with their nearest training images.
struct NeighbourSet {
  std::string title;
  absl::Span<const uint8_t> pixels;         // N images
  absl::Span<const uint8_t> labels;         // [N]
  absl::Span<const Neighbours> neighbours;  // [N]
};

// A PNG in two columns, generated images and, as a yardstick, real images: the 16 that are closest to a training image,
// and the closest of each class, because some, as ones are, are close to everything. Each stands beside its nearest and
// second nearest training image, over their distance and the ratio of the two distances.
absl::StatusOr<std::string> DrawNeighbourSheet(const NeighbourSet& generated, const NeighbourSet& real,
                                               absl::Span<const uint8_t> training_pixels);

}  // namespace denoised

#endif  // DENOISED_TRAINER_EVALUATION_EVALUATION_SHEETS_H_
