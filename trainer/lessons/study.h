// File: study.h
//
// The study behind docs/lessons.md: trains a small network for each lesson and draws what comes of it. Apart from the
// product, whose networks and trainer leave no room for these mistakes.
//
//   absl::Status status = RunStudy({.data = "data", .out = "docs/lessons"});
//
// Says each lesson's loss on stdout. Not thread-safe: seeds torch's global random generator.
#ifndef DENOISED_TRAINER_LESSONS_STUDY_H_
#define DENOISED_TRAINER_LESSONS_STUDY_H_

#include <string>

#include "absl/status/status.h"
#include "trainer/lessons/lesson.h"

namespace denoised {

struct StudyOptions {
  std::string data = "data";
  bool verify_data = true;
  std::string out = "lessons";
  std::string lesson;  // empty: all
  LessonSize size;
};

// Leaves a PNG per lesson in `out`, with the lesson's name; of BatchNorm two. Errors of LoadMnist,
// NoiseSchedule::Create, EnsureWritableFolder and WriteFileAtomically; INTERNAL for what LibTorch throws.
absl::Status RunStudy(const StudyOptions& options);

}  // namespace denoised

#endif  // DENOISED_TRAINER_LESSONS_STUDY_H_
