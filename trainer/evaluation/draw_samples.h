// File: draw_samples.h
//
// Draws many images with a checkpoint, by the same step plans and engine as the server, and keeps them in a folder so
// that a run of hours can be interrupted at any moment.
//
//   absl::StatusOr<Drawing> drawing = DrawSamples({.checkpoint = "run/best.pt", .out = "eval", .counts = {10, 10,
//   ...}});
//
// Image i of the run, classes in ascending order, starts from the noise of --seed and image index i, whatever else is
// drawn beside it; so two checkpoints are compared on the same noise. Pixels are rounded to bytes as the server does.
//
// The folder gets IDX files of 32x32 images, in MNIST's own format, and samples.json, which says with what they were
// drawn. The files are replaced atomically every few seconds; the same call goes on where the last one ended.
#ifndef DENOISED_TRAINER_EVALUATION_DRAW_SAMPLES_H_
#define DENOISED_TRAINER_EVALUATION_DRAW_SAMPLES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/diffusion/step_plan.h"
#include "common/model/model_metadata.h"
#include "trainer/data/class_names.h"
#include "trainer/judges/figures.h"

namespace denoised {

struct DrawOptions {
  std::string checkpoint;
  std::string out = "eval";        // folder
  std::string device = "auto";     // as in EngineOptions
  std::string precision = "auto";  // of PrecisionNames()
  int threads = 0;                 // on the CPU; 0: one per core
  SamplerType sampler = SamplerType::kDdpm;
  int steps = 0;              // 0: the sampler's default
  double eta = 0;             // DDIM only
  double guidance_scale = 1;  // 1 is off, 10 the most
  uint64_t seed = 1;
  ClassCounts counts;                                         // images of each class
  std::vector<std::string> class_names = NumbersAsNames(10);  // of the images to compare with
  double save_every_seconds = 10;  // at most this much work is lost, and what is in the making
  // Asked after every step; once it says true, what is finished is saved and drawing ends. Null: never.
  std::function<bool()> stop_requested;
};

// What a run leaves in its folder.
struct SampleFiles {
  explicit SampleFiles(const std::string& folder)
      : images(folder + "/samples-images-idx3-ubyte"),
        labels(folder + "/samples-labels-idx1-ubyte"),
        record(folder + "/samples.json") {}

  std::string images;
  std::string labels;
  std::string record;
};

struct Drawing {
  ModelMetadata metadata;  // of the checkpoint
  std::string sha256;      // of the checkpoint
  int64_t parameter_count = 0;
  int steps = 0;
  std::string precision;        // of the network's numbers, "bf16"
  std::vector<uint8_t> pixels;  // [N,32,32]
  std::vector<uint8_t> labels;  // [N]
  int64_t network_calls = 0;    // network rows that the N images cost
  double seconds = 0;           // of drawing, earlier parts of the run included
  bool interrupted = false;     // stop_requested said so; N is less than was asked for
};

// Errors, besides those of LoadCheckpoint, MakeEngine and WriteFileAtomically:
//   INVALID_ARGUMENT     steps, eta or guidance out of range, guidance without a null label, or another chain than the
//                        one that a student has learnt
//   FAILED_PRECONDITION  the folder holds images that were drawn with something else, or the checkpoint draws other
//                        classes than class_names
//   DATA_LOSS            its files are damaged
absl::StatusOr<Drawing> DrawSamples(const DrawOptions& options);

// FAILED_PRECONDITION where `folder` has fewer images than its drawing was to have, `images`. A folder without the
// record of a drawing is not looked at.
absl::Status CheckIsComplete(const std::string& folder, int64_t images);

// What DrawSamples would find wrong with the checkpoint and the flags, without drawing.
absl::Status CheckDrawing(const DrawOptions& options);

}  // namespace denoised

#endif  // DENOISED_TRAINER_EVALUATION_DRAW_SAMPLES_H_
