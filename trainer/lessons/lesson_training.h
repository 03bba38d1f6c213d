// File: lesson_training.h
//
// Trains a lesson's network, mistake included: Adam at the rate of a half cosine, batches of 64.
//
//   LessonUnet average(lesson.batch_norm);
//   const double loss = TrainLesson(lesson, {.epochs = 2}, data, schedule, average);
//
// Uses torch's global random generator. Shows progress on stderr. Throws what LibTorch throws.
#ifndef DENOISED_TRAINER_LESSONS_LESSON_TRAINING_H_
#define DENOISED_TRAINER_LESSONS_LESSON_TRAINING_H_

#include "common/diffusion/noise_schedule.h"
#include "trainer/data/mnist.h"
#include "trainer/lessons/lesson.h"
#include "trainer/lessons/lesson_network.h"

namespace denoised {

// Leaves the averaged network in `average`; returns the mean loss of the last epoch.
double TrainLesson(const Lesson& lesson, const LessonSize& size, const Dataset& data, const NoiseSchedule& schedule,
                   LessonUnet& average);

}  // namespace denoised

#endif  // DENOISED_TRAINER_LESSONS_LESSON_TRAINING_H_
