// File: teacher.h
//
// What a student learns that is to draw in a few steps (progressive distillation: Salimans and Ho, arXiv 2202.00512):
// to say what takes one step of its own short DDIM chain to where several steps of a teacher lead from the same noisy
// image.
//
//   DENOISED_ASSIGN_OR_RETURN(const Teacher teacher,
//                             Teacher::Create(unet, {.schedule = teachers, .student_schedule = students}));
//   const at::Tensor target = teacher.Target(x, t, y);   // t: of teacher.timesteps()
//
// Immutable; Target may be called by several threads at once, each of which has autograd's graph executor off.
#ifndef DENOISED_TRAINER_TRAINING_TEACHER_H_
#define DENOISED_TRAINER_TRAINING_TEACHER_H_

#include <torch/script.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/diffusion/noise_schedule.h"

namespace denoised {

struct TeacherOptions {
  NoiseScheduleConfig schedule = {};          // the teacher's
  NoiseScheduleConfig student_schedule = {};  // the same but for what is predicted
  bool clip_sample = true;                    // of both
  int student_steps = 4;                      // of the student's whole chain
  int teacher_steps = 20;                     // of the teacher's, a multiple of those
  bool teacher_is_student = false;            // whose steps are DDIM's too, each of first order
};

class Teacher {
 public:
  // `unet` is on `device`, and nobody changes its weights. INVALID_ARGUMENT for steps that do not fit each other.
  static absl::StatusOr<Teacher> Create(const torch::jit::Module& unet, torch::Device device,
                                        const TeacherOptions& options);

  // Those of the student's chain, noisiest first.
  const std::vector<int64_t>& timesteps() const { return timesteps_; }

  // What the student is to say at x [B,1,32,32], t [B], y [B], of its own kind of prediction: [B,1,32,32]. The
  // teacher's steps are DPM-Solver++(2M)'s, each of the student's steps beginning with one of first order; a student's
  // are DDIM's, as it has learnt no others.
  at::Tensor Target(const at::Tensor& x, const at::Tensor& t, const at::Tensor& y) const;

 private:
  // Coefficients of step_plan.h's formula, each [student_steps].
  struct Steps {
    at::Tensor timestep;  // int64
    at::Tensor p, q, a, b, c;
  };

  Teacher() = default;

  torch::jit::Module unet_;
  float limit_ = 1;  // of the predicted clean image
  std::vector<int64_t> timesteps_;
  at::Tensor step_of_;           // [T] int64: which step of the student's begins at a timestep
  Steps student_;                // one of each of its steps
  std::vector<Steps> substeps_;  // the teacher's, the first of each of the student's steps, then the second, ...
};

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_TEACHER_H_
