// File: lesson_drawing.h
//
// Draws what a lesson's network has learnt, by the whole chain.
//
//   absl::StatusOr<std::string> png = DrawLesson(lesson, schedule, unet, /*rows_per_digit=*/2);
//
// Seeds are fixed. Shows progress on stderr. Not thread-safe. Throws what LibTorch throws.
#ifndef DENOISED_TRAINER_LESSONS_LESSON_DRAWING_H_
#define DENOISED_TRAINER_LESSONS_LESSON_DRAWING_H_

#include <string>

#include "absl/status/statusor.h"
#include "common/diffusion/noise_schedule.h"
#include "trainer/lessons/lesson.h"
#include "trainer/lessons/lesson_network.h"

namespace denoised {

// A PNG of ten columns, one for each digit. In training mode BatchNorm uses the statistics of what is being drawn.
// Errors of MakeStepPlan and of EncodePng.
absl::StatusOr<std::string> DrawLesson(const Lesson& lesson, const NoiseSchedule& schedule, LessonUnet& unet,
                                       int rows_per_digit);

}  // namespace denoised

#endif  // DENOISED_TRAINER_LESSONS_LESSON_DRAWING_H_
