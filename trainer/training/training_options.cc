#include "trainer/training/training_options.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/checkpoint/unet.h"
#include "common/support/class_names.h"
#include "common/support/number_text.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

struct Range {
  const char* flag;
  double value;
  bool ok;
  const char* expected;
};

absl::Status ValidateRanges(const TrainingOptions& options, int images) {
  const bool any = images == kAnyImages;
  const std::string validation_range =
      any ? "at least 0" : absl::StrCat("0 (none) to ", images - 1, ", so that one is left to learn from");
  const int64_t learnt = std::max(int64_t{1}, int64_t{images} - options.validation_images);
  const int steps = options.schedule.num_train_timesteps;
  const int guided_below = options.model_guidance_below > 0 ? options.model_guidance_below : steps;
  const std::string from_range = absl::StrCat("1 to ", guided_below - 1, ", or 0 for all timesteps");
  const std::string steps_range = absl::StrCat("1 to ", steps);
  const std::string below_range = absl::StrCat("1 to ", steps, ", or 0 for all timesteps");
  const std::string batch_range =
      any ? "at least 1" : absl::StrCat("1 to ", learnt, ", as there are no more images to learn from");
  const std::string black_range = absl::StrCat("1 to ", kMostBlackBelow, ", or 0 for none");
  const Range ranges[] = {
      {"--validation_images", 1.0 * options.validation_images,
       options.validation_images >= 0 && options.validation_images < images, validation_range.c_str()},
      {"--epochs", 1.0 * options.epochs, options.epochs >= 1, "at least 1"},
      {"--patience", 1.0 * options.patience, options.patience >= 1, "at least 1"},
      {"--batch_size", 1.0 * options.batch_size, options.batch_size >= 1 && options.batch_size <= learnt,
       batch_range.c_str()},
      {"--accumulate", 1.0 * options.accumulate,
       options.accumulate >= 1 && int64_t{options.accumulate} * options.batch_size <= learnt,
       "at least 1, with all its batches' images there"},
      {"--max_steps", static_cast<double>(options.max_steps), options.max_steps >= 0, "at least 1, or 0 for no limit"},
      {"--learning_rate", options.learning_rate, options.learning_rate > 0, "more than 0"},
      {"--weight_decay", options.weight_decay, options.weight_decay >= 0, "at least 0"},
      {"--warmup_steps", 1.0 * options.warmup_steps, options.warmup_steps >= 0, "at least 0"},
      {"--clip_norm", options.clip_norm, options.clip_norm >= 0, "more than 0, or 0 for none"},
      {"--min_snr_gamma", options.min_snr_gamma, options.min_snr_gamma >= 0, "more than 0, or 0 for none"},
      {"--model_guidance", options.model_guidance, options.model_guidance >= 1 && options.model_guidance <= 10,
       "1 (none) to 10"},
      {"--model_guidance_below", 1.0 * options.model_guidance_below,
       options.model_guidance_below >= 0 && options.model_guidance_below <= steps, below_range.c_str()},
      {"--model_guidance_from", 1.0 * options.model_guidance_from,
       options.model_guidance_from >= 0 && options.model_guidance_from < guided_below, from_range.c_str()},
      {"--student_steps", 1.0 * options.student_steps, options.student_steps >= 1 && options.student_steps <= steps,
       steps_range.c_str()},
      {"--teacher_steps", 1.0 * options.teacher_steps, options.teacher_steps >= 1 && options.teacher_steps <= steps,
       steps_range.c_str()},
      {"--black_below", 1.0 * options.black_below, options.black_below >= 0 && options.black_below <= kMostBlackBelow,
       black_range.c_str()},
      {"--ema_decay", options.ema_decay, options.ema_decay >= 0 && options.ema_decay < 1, "0 to less than 1"},
      {"--label_dropout", options.label_dropout, options.label_dropout >= 0 && options.label_dropout < 1,
       "0 to less than 1"},
      {"--max_bad_batches", 1.0 * options.max_bad_batches, options.max_bad_batches >= 1, "at least 1"},
      {"--sample_every", 1.0 * options.sample_every, options.sample_every >= 0, "at least 1, or 0 for no grids"},
      {"--checkpoint_every", options.checkpoint_every_seconds, options.checkpoint_every_seconds >= 0,
       "at least 0 seconds"},
      {"--report_every", options.report_every_seconds, options.report_every_seconds >= 0, "at least 0 seconds"},
      {"--save_every", options.save_every_seconds, options.save_every_seconds >= 0, "at least 0 seconds"},
  };
  for (const Range& range : ranges) {
    if (range.ok) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("%s must be %s, got %.15g", range.flag, range.expected, range.value));
  }
  return absl::OkStatus();
}

absl::Status ValidateDistillation(const TrainingOptions& options) {
  // Where there is hardly any signal, an error of the noise is one of the clean image times 150.
  if (options.schedule.prediction_type != PredictionType::kVPrediction) {
    return absl::InvalidArgumentError("--distill needs --prediction_type v_prediction, whatever the teacher predicts");
  }
  if (options.model_guidance > 1) {
    return absl::InvalidArgumentError(
        "--distill takes the guidance that its teacher has learnt: leave out --model_guidance");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TrainingOptions> DefaultTrainingOptions(const std::string& architecture) {
  TrainingOptions options;
  if (architecture == "compact") return options;
  if (architecture == "seed") {  // as the original trained it: Adam, constant rate, raw weights, no clipping
    options.unet = SeedUnetConfig();
    options.learning_rate = 2e-4;
    options.weight_decay = 0;
    options.cosine = false;
    options.warmup_steps = 0;
    options.clip_norm = 0;
    options.ema_decay = 0;
    options.label_dropout = 0;
    options.keep_last_batch = true;  // 938 batches of MNIST
    options.clip_sample = false;
    return options;
  }
  return absl::InvalidArgumentError(absl::StrCat("--arch must be compact or seed, got \"", architecture, "\""));
}

TrainingOptions ForClasses(TrainingOptions options, const std::vector<std::string>& class_names) {
  const int null_labels = options.unet.num_labels - static_cast<int>(options.class_names.size());
  options.class_names = class_names;
  options.unet.num_labels = static_cast<int>(class_names.size()) + null_labels;
  return options;
}

absl::Status ValidateTrainingOptions(const TrainingOptions& options, int images) {
  if (const absl::Status blocks = ValidateUnetBlocks(options.unet); !blocks.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--blocks: ", blocks.message()));
  }
  if (const absl::Status unet = ValidateUnetConfig(options.unet); !unet.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--channels: ", unet.message()));
  }
  DENOISED_RETURN_IF_ERROR(ValidateRanges(options, images));
  if (options.precision != "fp32" && options.precision != "bf16") {
    return absl::InvalidArgumentError(
        absl::StrCat("--precision must be fp32 or bf16, got \"", options.precision, "\""));
  }
  if (!options.distill.empty()) DENOISED_RETURN_IF_ERROR(ValidateDistillation(options));
  if (options.model_guidance_below > 0 && options.model_guidance == 1) {
    return absl::InvalidArgumentError("--model_guidance_below needs a --model_guidance above 1");
  }
  if (options.model_guidance_from > 0 && options.model_guidance == 1) {
    return absl::InvalidArgumentError("--model_guidance_from needs a --model_guidance above 1");
  }
  if (options.label_dropout > 0 && !NullLabel(options)) {
    return absl::InvalidArgumentError(absl::StrCat("--label_dropout must be 0 for --arch ", options.unet.architecture,
                                                   ", which has no null label, got ", options.label_dropout));
  }
  if (options.model_guidance > 1 && !NullLabel(options)) {
    return absl::InvalidArgumentError(
        "--model_guidance needs an architecture with a null label and a --label_dropout above 0");
  }
  return absl::OkStatus();
}

std::optional<int> NullLabel(const TrainingOptions& options) {
  const int classes = static_cast<int>(options.class_names.size());
  if (options.unet.num_labels > classes && options.label_dropout > 0) return classes;
  return std::nullopt;
}

namespace {

// "compact of 32-64-128 channels", and its blocks where it has more than one somewhere.
std::string ArchitectureText(const UnetConfig& unet) {
  std::string text = absl::StrCat(unet.architecture, " of ", absl::StrJoin(unet.channels, "-"), " channels");
  const bool deeper = std::any_of(unet.blocks.begin(), unet.blocks.end(), [](int blocks) { return blocks > 1; });
  if (deeper) absl::StrAppend(&text, " and ", absl::StrJoin(unet.blocks, "-"), " blocks");
  return text;
}

std::string FileText(const std::string& sha256) {
  return sha256.empty() ? "none" : absl::StrCat("a file of SHA-256 ", sha256);
}

// What the flags say of a run's numbers.
Recipe DecisiveFlags(const TrainingOptions& options, const RunSetting& setting) {
  const NoiseScheduleConfig& schedule = options.schedule;
  Recipe recipe = {
      {"--arch", ArchitectureText(options.unet)},
      {"--init", FileText(setting.init_sha256)},
      {"--distill", FileText(setting.teacher_sha256)},
      {"--prediction_type", PredictionTypeName(schedule.prediction_type)},
      {"--beta_schedule", schedule.beta_schedule},
      {"--batch_size times processes", absl::StrCat(int64_t{options.batch_size} * setting.processes)},
      {"--accumulate", absl::StrCat(options.accumulate)},
      {"--keep_last_batch", options.keep_last_batch ? "on" : "off"},
      {"--max_steps", absl::StrCat(options.max_steps)},
      {"WORLD_SIZE (processes)", absl::StrCat(setting.processes)},
      {"--learning_rate", ExactText(options.learning_rate)},
      {"--weight_decay", ExactText(options.weight_decay)},
      {"--cosine", options.cosine ? "on" : "off"},
      {"--warmup_steps", absl::StrCat(options.warmup_steps)},
      {"--clip_norm", ExactText(options.clip_norm)},
      {"--min_snr_gamma", ExactText(options.min_snr_gamma)},
      {"--model_guidance", ExactText(options.model_guidance)},
      {"--model_guidance_below", absl::StrCat(options.model_guidance_below)},
      {"--model_guidance_from", absl::StrCat(options.model_guidance_from)},
      {"--ema_decay", ExactText(options.ema_decay)},
      {"--label_dropout", ExactText(options.label_dropout)},
      {"--validation_images", absl::StrCat(options.validation_images)},
      {"--seed", absl::StrCat(options.seed)},
      {"--precision", options.precision},
      {"--device", setting.on_cpu ? "cpu" : "cuda"},
  };
  if (!AreCalledByNumber(options.class_names)) {
    recipe.emplace_back("--class_names", absl::StrJoin(options.class_names, ","));
  }
  if (!setting.teacher_sha256.empty()) {
    recipe.emplace_back("--student_steps", absl::StrCat(options.student_steps));
    recipe.emplace_back("--teacher_steps", absl::StrCat(options.teacher_steps));
  }
  if (setting.on_cpu) recipe.emplace_back("--threads", absl::StrCat(setting.threads));
  if (options.cosine) recipe.emplace_back("--epochs", absl::StrCat(options.epochs));
  return recipe;
}

}  // namespace

Recipe RecipeOf(const TrainingOptions& options, const Dataset& data, const RunSetting& setting) {
  Recipe recipe = DecisiveFlags(options, setting);
  for (const auto& [file, sha256] : data.sha256) recipe.emplace_back(absl::StrCat(file, " of SHA-256"), sha256);
  return recipe;
}

Recipe FlagsOf(const TrainingOptions& options, const RunSetting& setting) {
  Recipe flags = DecisiveFlags(options, setting);
  if (!options.cosine) flags.emplace_back("--epochs", absl::StrCat(options.epochs));
  flags.emplace_back("--patience", absl::StrCat(options.patience));
  flags.emplace_back("--max_bad_batches", absl::StrCat(options.max_bad_batches));
  return flags;
}

}  // namespace denoised
