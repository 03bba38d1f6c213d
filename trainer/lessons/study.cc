#include "trainer/lessons/study.h"

#include <torch/torch.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/checkpoint/torch_error.h"
#include "common/checkpoint/torch_threads.h"
#include "common/diffusion/noise_schedule.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"
#include "trainer/data/mnist.h"
#include "trainer/lessons/lesson_drawing.h"
#include "trainer/lessons/lesson_network.h"
#include "trainer/lessons/lesson_training.h"

namespace denoised {
namespace {

absl::Status WritePicture(const Lesson& lesson, const StudyOptions& options, const NoiseSchedule& schedule,
                          LessonUnet& unet, const std::string& name) {
  DENOISED_ASSIGN_OR_RETURN(const std::string png, DrawLesson(lesson, schedule, unet, options.size.rows_per_digit));
  return WriteFileAtomically(absl::StrCat(options.out, "/", name, ".png"), png);
}

absl::Status Teach(const Lesson& lesson, const StudyOptions& options, const Dataset& data,
                   const NoiseSchedule& schedule) {
  torch::manual_seed(1);
  LessonUnet unet(lesson.batch_norm);
  const double loss = TrainLesson(lesson, options.size, data, schedule, unet);
  absl::PrintF("%s: %s, loss %.5f\n", lesson.name, lesson.title, loss);
  std::fflush(stdout);
  unet->eval();  // BatchNorm: the running averages of training
  DENOISED_RETURN_IF_ERROR(WritePicture(lesson, options, schedule, unet, lesson.name));
  if (!lesson.batch_norm) return absl::OkStatus();
  unet->train();  // BatchNorm: the statistics of what is being drawn, all of it at one noise level
  return WritePicture(lesson, options, schedule, unet, absl::StrCat(lesson.name, "-of-the-batch"));
}

}  // namespace

absl::Status RunStudy(const StudyOptions& options) {
  DENOISED_ASSIGN_OR_RETURN(const Dataset data,
                            LoadMnist(options.data, Split::kTrain, {.verify_checksums = options.verify_data}));
  DENOISED_ASSIGN_OR_RETURN(const NoiseSchedule schedule,
                            NoiseSchedule::Create({.num_train_timesteps = options.size.num_steps}));
  DENOISED_RETURN_IF_ERROR(EnsureWritableFolder(options.out));
  try {
    ComputeOnThisThreadAlone();
    for (const Lesson& lesson : kLessons) {
      if (!options.lesson.empty() && options.lesson != lesson.name) continue;
      DENOISED_RETURN_IF_ERROR(Teach(lesson, options, data, schedule));
    }
    return absl::OkStatus();
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("the study failed: ", TorchErrorText(e)));
  }
}

}  // namespace denoised
