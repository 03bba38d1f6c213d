#include "trainer/training/beginning.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/support/class_names.h"
#include "common/support/counted.h"
#include "common/support/status_macros.h"
#include "trainer/training/grow_network.h"

namespace denoised {
namespace {

// A checkpoint that `flag` names, of the run's own classes.
absl::StatusOr<Checkpoint> LoadOfClasses(const char* flag, const std::string& path, const TrainingOptions& options) {
  DENOISED_ASSIGN_OR_RETURN(Checkpoint checkpoint, LoadCheckpoint(path));
  const std::vector<std::string>& classes = checkpoint.metadata.class_names;
  if (classes == options.class_names) return checkpoint;
  return absl::FailedPreconditionError(absl::StrCat(
      flag, " ", path, " draws other classes than --data has: ", ListClasses(classes, /*with_numbers=*/false),
      " in the place of ", ListClasses(options.class_names, /*with_numbers=*/false),
      "; begin with random weights, or give it its own data"));
}

absl::Status OtherKind(const char* flag, const std::string& path, const char* flags) {
  return absl::FailedPreconditionError(
      absl::StrCat(flag, " ", path, " is another kind of network than this run's: give the ", flags));
}

absl::StatusOr<Checkpoint> LoadInit(const TrainingOptions& options) {
  DENOISED_ASSIGN_OR_RETURN(Checkpoint init, LoadOfClasses("--init", options.init, options));
  if (CanGrow(init.metadata.unet, options.unet) && init.metadata.noise_schedule == options.schedule) return init;
  return OtherKind("--init", options.init,
                   "--arch, --channels, --blocks, --prediction_type and --beta_schedule that it was trained with; each "
                   "of --channels may be a multiple of its own, and --blocks more than its own");
}

absl::StatusOr<Checkpoint> LoadTeacher(const TrainingOptions& options) {
  DENOISED_ASSIGN_OR_RETURN(Checkpoint teacher, LoadOfClasses("--distill", options.distill, options));
  const ModelMetadata& metadata = teacher.metadata;
  if (const int own = metadata.distilled_steps; own > 0 && own != options.teacher_steps) {
    const bool can_teach = own > options.student_steps && own % options.student_steps == 0;
    return absl::FailedPreconditionError(absl::StrCat(
        "--distill ", options.distill, " is a student itself, which draws in ", Counted(own, "step"),
        can_teach ? absl::StrCat(" alone: give --teacher_steps ", own, ", or name")
                  : absl::StrCat(" alone and can teach no one to draw in ", options.student_steps, ": name"),
        " the checkpoint that it learnt from"));
  }
  NoiseScheduleConfig schedule = metadata.noise_schedule;
  schedule.prediction_type = options.schedule.prediction_type;
  if (metadata.unet != options.unet || schedule != options.schedule) {
    return OtherKind("--distill", options.distill,
                     "--arch, --channels, --blocks and --beta_schedule that it was trained with");
  }
  if (metadata.null_label == NullLabel(options)) return teacher;
  return absl::FailedPreconditionError(absl::StrCat(
      "--distill ", options.distill,
      metadata.null_label ? " has learnt a null label, and this run's network would not: give a --label_dropout above 0"
                          : " has learnt no null label: give --label_dropout 0"));
}

}  // namespace

absl::StatusOr<Beginning> LoadBeginning(const TrainingOptions& options, torch::Device device) {
  Beginning beginning;
  if (!options.distill.empty()) {
    DENOISED_ASSIGN_OR_RETURN(Checkpoint checkpoint, LoadTeacher(options));
    checkpoint.unet.to(device);
    DENOISED_ASSIGN_OR_RETURN(beginning.teacher,
                              Teacher::Create(checkpoint.unet, device,
                                              {.schedule = checkpoint.metadata.noise_schedule,
                                               .student_schedule = options.schedule,
                                               .clip_sample = options.clip_sample,
                                               .student_steps = options.student_steps,
                                               .teacher_steps = options.teacher_steps,
                                               .teacher_is_student = checkpoint.metadata.distilled_steps > 0}));
    beginning.teacher_sha256 = checkpoint.sha256;
    beginning.init = std::move(checkpoint);
  }
  if (!options.init.empty()) {
    DENOISED_ASSIGN_OR_RETURN(beginning.init, LoadInit(options));
  }
  return beginning;
}

}  // namespace denoised
