#include "trainer/training/teacher.h"

#include <torch/torch.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/diffusion/step_plan.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

absl::StatusOr<StepPlan> Plan(const NoiseScheduleConfig& config, SamplerType sampler, int steps, bool clip_sample) {
  DENOISED_ASSIGN_OR_RETURN(const NoiseSchedule schedule, NoiseSchedule::Create(config));
  return MakeStepPlan(schedule, {.sampler = sampler, .steps = steps, .clip_sample = clip_sample});
}

}  // namespace

absl::StatusOr<Teacher> Teacher::Create(const torch::jit::Module& unet, torch::Device device,
                                        const TeacherOptions& options) {
  if (options.student_steps < 1 || options.teacher_steps <= options.student_steps ||
      options.teacher_steps % options.student_steps != 0) {
    return absl::InvalidArgumentError(absl::StrCat("--teacher_steps must be twice --student_steps, ",
                                                   options.student_steps, ", or more times that, got ",
                                                   options.teacher_steps));
  }
  const int each = options.teacher_steps / options.student_steps;
  DENOISED_ASSIGN_OR_RETURN(const StepPlan students, Plan(options.student_schedule, SamplerType::kDdim,
                                                          options.student_steps, options.clip_sample));
  DENOISED_ASSIGN_OR_RETURN(const StepPlan first_order,
                            Plan(options.schedule, SamplerType::kDdim, options.teacher_steps, options.clip_sample));
  DENOISED_ASSIGN_OR_RETURN(const StepPlan second_order, Plan(options.schedule, SamplerType::kDpmSolverPp2M,
                                                              options.teacher_steps, options.clip_sample));

  const auto every = [device](const StepPlan& plan, int stride, int first) {
    std::vector<int64_t> timesteps;
    std::vector<float> p, q, a, b, c;
    for (size_t i = first; i < plan.size(); i += stride) {
      const StepCoefficients& row = plan[i];
      timesteps.push_back(row.timestep);
      p.push_back(row.p);
      q.push_back(row.q);
      a.push_back(row.a);
      b.push_back(row.b);
      c.push_back(row.c);
    }
    const auto table = [device](const std::vector<float>& values) { return torch::tensor(values).to(device); };
    return Steps{.timestep = torch::tensor(timesteps, torch::kInt64).to(device),
                 .p = table(p),
                 .q = table(q),
                 .a = table(a),
                 .b = table(b),
                 .c = table(c)};
  };

  Teacher teacher;
  teacher.unet_ = unet;
  teacher.limit_ = students[0].hi;
  teacher.student_ = every(students, 1, 0);
  for (int i = 0; i < each; ++i) {
    teacher.substeps_.push_back(every(i == 0 || options.teacher_is_student ? first_order : second_order, each, i));
  }
  at::Tensor step_of = torch::full({options.schedule.num_train_timesteps}, -1, torch::kInt64);
  for (size_t i = 0; i < students.size(); ++i) {
    teacher.timesteps_.push_back(students[i].timestep);
    step_of[students[i].timestep] = static_cast<int64_t>(i);
  }
  teacher.step_of_ = step_of.to(device);
  return teacher;
}

at::Tensor Teacher::Target(const at::Tensor& x, const at::Tensor& t, const at::Tensor& y) const {
  const torch::NoGradGuard no_grad;
  const at::Tensor step = step_of_.index_select(0, t);
  const auto of_row = [&step](const at::Tensor& table) { return table.index_select(0, step).view({-1, 1, 1, 1}); };
  torch::jit::Module unet = unet_;
  at::Tensor now = x, clean = torch::zeros_like(x);
  for (const Steps& substep : substeps_) {
    const at::Tensor e = unet.forward({now, substep.timestep.index_select(0, step), y}).toTensor();
    const at::Tensor before =
        std::exchange(clean, (of_row(substep.p) * now + of_row(substep.q) * e).clamp(-limit_, limit_));
    now = of_row(substep.a) * now + of_row(substep.b) * clean + of_row(substep.c) * before;
  }
  // The clean image that takes the student there, and what it has to say for that.
  clean = (now - of_row(student_.a) * x) / of_row(student_.b);
  return (clean - of_row(student_.p) * x) / of_row(student_.q);
}

}  // namespace denoised
