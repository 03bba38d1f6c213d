#include "server/service/request_validation.h"

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/image/resize.h"
#include "common/support/class_names.h"
#include "common/support/counted.h"
#include "common/support/status_macros.h"
#include "server/service/class_lookup.h"
#include "server/service/grpc_status.h"
#include "server/service/request_size.h"

namespace denoised {
namespace {

constexpr int kMinSize = kModelSize;
constexpr int kMaxSize = 1024;
constexpr int kDefaultSize = 256;
constexpr float kMaxGuidanceScale = 10;

// Reads one request and collects what is wrong with it.
class Validator {
 public:
  Validator(const v1::GenerateDigitRequest& request, const ModelMetadata& model, const NoiseSchedule& schedule)
      : request_(request), model_(model), schedule_(schedule) {}

  absl::StatusOr<ValidRequest> Run(uint32_t max_images, uint64_t random_seed) {
    ReadClass();
    ReadCount(max_images);
    valid_.draw.seed = request_.has_seed() ? request_.seed() : random_seed;
    ReadPlan();
    ReadGuidance();
    ReadPreview();
    ReadPriority();
    ReadFormat();
    if (!violations_.empty()) return BadRequestStatus(violations_);
    return valid_;
  }

 private:
  void Refuse(const std::string& field, std::string description) {
    violations_.push_back({field, std::move(description)});
  }

  void ReadClass() {
    if (!request_.class_name().empty()) return ReadClassName();
    const int last = static_cast<int>(model_.class_names.size()) - 1;
    const std::string known =
        AreCalledByNumber(model_.class_names) ? "" : ListClasses(model_.class_names, /*with_numbers=*/true);
    if (!request_.has_digit()) {
      Refuse("digit", absl::StrCat("is required: 0 to ", last, ", or class_name in its place",
                                   known.empty() ? "" : "; the classes are ", known));
    } else if (request_.digit() < 0 || request_.digit() > last) {
      Refuse("digit", absl::StrCat("must be 0 to ", last, ", got ", request_.digit(),
                                   known.empty() ? "" : "; the classes are ", known));
    }
    valid_.draw.label = request_.digit();
  }

  void ReadClassName() {
    if (request_.has_digit()) {
      Refuse("class_name", "is in the place of digit: send one of the two, not both");
      return;
    }
    const std::optional<int> label = FindClass(model_.class_names, request_.class_name());
    if (!label.has_value()) Refuse("class_name", UnknownClassText(model_.class_names, request_.class_name()));
    valid_.draw.label = label.value_or(0);
  }

  void ReadCount(uint32_t max_images) {
    valid_.draw.count = request_.count() == 0 ? 1 : request_.count();
    valid_.draw.first_image = request_.first_image();
    const uint32_t last_first = std::numeric_limits<uint32_t>::max() - valid_.draw.count;
    if (valid_.draw.first_image > last_first) {
      Refuse("first_image", absl::StrCat("must be at most ", last_first, ", got ", valid_.draw.first_image));
    }
    if (valid_.draw.count > max_images) {
      Refuse("count", absl::StrCat("must be at most ", max_images, " on this server, got ", valid_.draw.count));
    }
  }

  std::optional<SamplerType> ReadSampler() {
    switch (request_.sampler()) {
      case v1::SAMPLER_UNSPECIFIED:
        return model_.distilled_steps > 0 ? SamplerType::kDdim : SamplerType::kDdpm;
      case v1::SAMPLER_DDPM:
        return SamplerType::kDdpm;
      case v1::SAMPLER_DDIM:
        return SamplerType::kDdim;
      case v1::SAMPLER_DPM_SOLVER_PP_2M:
        return SamplerType::kDpmSolverPp2M;
      default:
        Refuse("sampler", absl::StrCat("must be SAMPLER_DDPM, SAMPLER_DDIM or SAMPLER_DPM_SOLVER_PP_2M, got ",
                                       static_cast<int>(request_.sampler())));
        return std::nullopt;
    }
  }

  // What a student has not learnt, it draws badly.
  void ReadDistilledPlan() {
    const uint32_t steps = static_cast<uint32_t>(model_.distilled_steps);
    const std::string why = absl::StrCat(": this model has learnt to draw in ", Counted(steps, "step"), " of it alone");
    if (const std::optional<SamplerType> sampler = ReadSampler();
        sampler.has_value() && *sampler != SamplerType::kDdim) {
      Refuse("sampler",
             absl::StrCat("must be SAMPLER_DDIM, or left out", why, ", got ", v1::Sampler_Name(request_.sampler())));
    }
    if (request_.steps() != 0 && request_.steps() != steps) {
      Refuse("steps",
             absl::StrCat("must be ", steps, ", or 0: this model has learnt no other chain, got ", request_.steps()));
    }
    if (request_.eta() != 0) {
      Refuse("eta",
             absl::StrFormat("must be 0: this model has learnt a chain without fresh noise, got %g", request_.eta()));
    }
    if (violations_.empty()) SetPlan({.sampler = SamplerType::kDdim, .steps = model_.distilled_steps});
  }

  void SetPlan(StepPlanOptions options) {
    options.variance_type = model_.variance_type;
    options.clip_sample = model_.clip_sample;
    absl::StatusOr<StepPlan> plan = MakeStepPlan(schedule_, options);
    if (!plan.ok()) {
      Refuse("steps", std::string(plan.status().message()));
      return;
    }
    valid_.draw.sampler = options.sampler;
    valid_.draw.plan = std::make_shared<const StepPlan>(*std::move(plan));
  }

  void ReadPlan() {
    if (model_.distilled_steps > 0) return ReadDistilledPlan();
    const std::optional<SamplerType> sampler = ReadSampler();
    const uint32_t max_steps = static_cast<uint32_t>(schedule_.num_train_timesteps());
    const bool steps_valid = request_.steps() <= max_steps;
    if (!steps_valid) {
      Refuse("steps",
             absl::StrCat("must be 1 to ", max_steps, ", or 0 for the sampler's default, got ", request_.steps()));
    }
    const bool eta_valid = ReadEta(sampler);
    if (!sampler.has_value() || !steps_valid || !eta_valid) return;
    SetPlan({.sampler = *sampler, .steps = static_cast<int>(request_.steps()), .eta = request_.eta()});
  }

  bool ReadEta(std::optional<SamplerType> sampler) {
    if (!(request_.eta() >= 0 && request_.eta() <= 1)) {
      Refuse("eta", absl::StrFormat("must be 0 to 1, got %g", request_.eta()));
      return false;
    }
    if (request_.eta() != 0 && sampler.has_value() && *sampler != SamplerType::kDdim) {
      Refuse("eta", "is for SAMPLER_DDIM only; leave it out or choose that sampler");
      return false;
    }
    return true;
  }

  void ReadGuidance() {
    if (!request_.has_guidance_scale()) return;
    const float scale = request_.guidance_scale();
    valid_.draw.guidance_scale = scale;
    if (!(scale >= 1 && scale <= kMaxGuidanceScale)) {
      Refuse("guidance_scale", absl::StrFormat("must be 1 (off) to %g, got %g", kMaxGuidanceScale, scale));
    } else if (scale != 1 && !model_.null_label.has_value()) {
      Refuse("guidance_scale",
             absl::StrFormat("must be 1 (off) here, got %g: this checkpoint was trained without label "
                             "dropout, so it cannot guide",
                             scale));
    }
  }

  void ReadPreview() {
    valid_.draw.preview_every = request_.preview().every_steps();
    switch (request_.preview().kind()) {
      case v1::PREVIEW_KIND_UNSPECIFIED:
      case v1::PREVIEW_KIND_NOISY:
        valid_.draw.preview_kind = FrameKind::kNoisy;
        return;
      case v1::PREVIEW_KIND_PREDICTED_CLEAN:
        valid_.draw.preview_kind = FrameKind::kPredictedClean;
        return;
      default:
        Refuse("preview.kind", absl::StrCat("must be PREVIEW_KIND_NOISY or PREVIEW_KIND_PREDICTED_CLEAN, got ",
                                            static_cast<int>(request_.preview().kind())));
    }
  }

  void ReadPriority() {
    switch (request_.priority()) {
      case v1::PRIORITY_UNSPECIFIED:
      case v1::PRIORITY_INTERACTIVE:
        valid_.draw.priority = Priority::kInteractive;
        return;
      case v1::PRIORITY_BATCH:
        valid_.draw.priority = Priority::kBatch;
        return;
      default:
        Refuse("priority", absl::StrCat("must be PRIORITY_INTERACTIVE or PRIORITY_BATCH, got ",
                                        static_cast<int>(request_.priority())));
    }
  }

  void ReadFormat() {
    const uint32_t size = request_.image().size();
    valid_.format.size = size == 0 ? kDefaultSize : static_cast<int>(size);
    if (size != 0 && (size < kMinSize || size > kMaxSize)) {
      Refuse("image.size", absl::StrCat("must be ", kMinSize, " to ", kMaxSize, " pixels, got ", size));
    }
    switch (request_.image().interpolation()) {
      case v1::INTERPOLATION_NEAREST:
        valid_.format.interpolation = Interpolation::kNearest;
        return;
      case v1::INTERPOLATION_LINEAR:
        valid_.format.interpolation = Interpolation::kLinear;
        return;
      case v1::INTERPOLATION_UNSPECIFIED:
      case v1::INTERPOLATION_CUBIC:
        valid_.format.interpolation = Interpolation::kCubic;
        return;
      case v1::INTERPOLATION_LANCZOS:
        valid_.format.interpolation = Interpolation::kLanczos;
        return;
      default:
        Refuse("image.interpolation", absl::StrCat("must be INTERPOLATION_NEAREST, _LINEAR, _CUBIC or _LANCZOS, got ",
                                                   static_cast<int>(request_.image().interpolation())));
    }
  }

  const v1::GenerateDigitRequest& request_;
  const ModelMetadata& model_;
  const NoiseSchedule& schedule_;
  ValidRequest valid_;
  std::vector<FieldViolation> violations_;
};

}  // namespace

absl::StatusOr<ValidRequest> ValidateRequest(const v1::GenerateDigitRequest& request, const ModelMetadata& model,
                                             const NoiseSchedule& schedule, uint32_t max_images, uint64_t random_seed) {
  DENOISED_RETURN_IF_ERROR(CheckRequestSize(request));
  return Validator(request, model, schedule).Run(max_images, random_seed);
}

}  // namespace denoised
