// File: lesson.h
//
// The lessons: a diffusion model as it should be, and three mistakes that it forgives badly.
//
//   for (const Lesson& lesson : kLessons) std::puts(lesson.title);
//
// Constants.
#ifndef DENOISED_TRAINER_LESSONS_LESSON_H_
#define DENOISED_TRAINER_LESSONS_LESSON_H_

namespace denoised {

struct Lesson {
  const char* name;  // of the picture
  const char* title;
  bool one_step = false;    // predict the clean image from pure noise, at once
  bool unit_range = false;  // pixels in [0, 1]
  bool batch_norm = false;  // in the place of GroupNorm
};

inline constexpr Lesson kLessons[] = {
    {.name = "as-it-should-be", .title = "noise prediction over 1000 steps, pixels in [-1, 1], GroupNorm"},
    {.name = "one-step", .title = "the clean image predicted from noise in one step", .one_step = true},
    {.name = "unit-range", .title = "pixels in [0, 1]", .unit_range = true},
    {.name = "batch-norm", .title = "BatchNorm in the place of GroupNorm", .batch_norm = true},
};

// How much is done for each.
struct LessonSize {
  int epochs = 2;
  int images = 60000;  // to learn from, at most
  int rows_per_digit = 2;
  int num_steps = 1000;  // T
};

}  // namespace denoised

#endif  // DENOISED_TRAINER_LESSONS_LESSON_H_
