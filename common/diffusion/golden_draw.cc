#include "common/diffusion/golden_draw.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/diffusion/image_state.h"
#include "common/image/image.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr int kSteps = 4;
constexpr float kGuidanceScale = 2;
constexpr char kAlone[] = "alone";
constexpr char kInCompany[] = "together with others";

int NetworkRows(const GoldenRow& row) { return row.guidance_scale == 1 ? 1 : 2; }

StepRow RowAt(const GoldenRow& row, int slot, int step) {
  return {.slot = slot,
          .plan = &row.plan,
          .step = step,
          .label = row.label,
          .guidance_scale = row.guidance_scale,
          .seed = row.seed};
}

std::string Describe(const GoldenRow& row) {
  return absl::StrFormat("label %d by %s%s", row.label, SamplerName(row.sampler),
                         row.guidance_scale == 1 ? "" : " with guidance");
}

double Rms(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - b[i], 2);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

absl::Status Fault(const GoldenRow& row, const char* circumstances, const std::string& what) {
  return absl::InternalError(
      absl::StrFormat("the self-test failed: %s, drawn %s, %s", Describe(row), circumstances, what));
}

// Draws `rows[i]` in slot `slots[i]`, all at once.
absl::StatusOr<GoldenImages> Draw(Engine& engine, const std::vector<const GoldenRow*>& rows,
                                  const std::vector<int>& slots, const char* circumstances) {
  for (int step = 0; step < static_cast<int>(rows[0]->plan.size()); ++step) {
    std::vector<StepRow> batch;
    for (size_t i = 0; i < rows.size(); ++i) batch.push_back(RowAt(*rows[i], slots[i], step));
    const absl::Status status = engine.Step(batch);
    if (!status.ok()) return Fault(*rows[0], circumstances, absl::StrCat("fails: ", status.message()));
  }
  GoldenImages images(rows.size(), std::vector<float>(kModelPixels));
  for (size_t i = 0; i < rows.size(); ++i) {
    const absl::Status status = engine.Read(slots[i], FrameKind::kNoisy, absl::MakeSpan(images[i]));
    if (!status.ok()) return Fault(*rows[i], circumstances, absl::StrCat("fails: ", status.message()));
  }
  return images;
}

// By how much the images differ, if that is more than is allowed.
std::optional<std::string> TooFar(const std::vector<float>& image, const std::vector<float>& expected,
                                  float largest_rms) {
  const double rms = Rms(image, expected);
  if (rms <= largest_rms) return std::nullopt;
  return absl::StrFormat("by %.2g (root mean square), and %.2g is allowed", rms, largest_rms);
}

absl::Status CheckNear(const GoldenRow& row, const char* circumstances, const std::vector<float>& image,
                       const std::vector<float>& expected, float largest_rms) {
  const std::optional<std::string> too_far = TooFar(image, expected, largest_rms);
  if (!too_far.has_value()) return absl::OkStatus();
  return Fault(row, circumstances, absl::StrCat("differs from the fp32 reference ", *too_far));
}

// As many rows as a step of so many network rows takes: the golden ones in turn, but for those that do not fit, so that
// each meets several places.
std::vector<const GoldenRow*> Company(const std::vector<GoldenRow>& rows, int network_rows, int slots) {
  std::vector<const GoldenRow*> company;
  for (size_t i = 0; static_cast<int>(company.size()) < slots && network_rows > 0; ++i) {
    const GoldenRow& row = rows[i % rows.size()];
    if (NetworkRows(row) > network_rows) continue;
    network_rows -= NetworkRows(row);
    company.push_back(&row);
  }
  return company;
}

// Slots from the last to the first: other ones than alone.
std::vector<int> LastSlots(size_t count, int num_slots) {
  std::vector<int> slots(count);
  for (size_t i = 0; i < count; ++i) slots[i] = num_slots - 1 - static_cast<int>(i);
  return slots;
}

}  // namespace

std::vector<GoldenRow> GoldenRows(const NoiseSchedule& schedule, const GoldenOptions& options) {
  std::vector<GoldenRow> rows = {{.sampler = SamplerType::kDdpm, .label = 0, .seed = 1},
                                 {.sampler = SamplerType::kDpmSolverPp2M, .label = 3, .seed = 2},
                                 {.sampler = SamplerType::kDdim, .label = 7, .seed = 3}};
  if (options.null_label.has_value()) rows[1].guidance_scale = kGuidanceScale;
  for (GoldenRow& row : rows) {
    row.label %= options.classes;
    row.plan = *MakeStepPlan(schedule, {.sampler = row.sampler,
                                        .steps = std::min(kSteps, schedule.num_train_timesteps()),
                                        .variance_type = options.variance_type,
                                        .clip_sample = options.clip_sample});
  }
  return rows;
}

GoldenImages DrawPlainly(const std::vector<GoldenRow>& rows, int null_label, const PlainNetwork& network) {
  GoldenImages images;
  for (const GoldenRow& row : rows) {
    ImageState state(1);
    std::vector<float> e(2 * kModelPixels);
    for (int step = 0; step < static_cast<int>(row.plan.size()); ++step) {
      const StepRow at = RowAt(row, 0, step);
      const int timestep = row.plan[step].timestep;
      if (step == 0) state.Start(at);
      network(state.x(0), timestep, row.label, e.data());
      if (NetworkRows(row) == 2) {
        network(state.x(0), timestep, null_label, e.data() + kModelPixels);
        Guide(row.guidance_scale, e.data() + kModelPixels, e.data());
      }
      state.Update(at, e.data());
    }
    images.emplace_back(state.x(0), state.x(0) + kModelPixels);
  }
  return images;
}

absl::Status CompareImages(const std::vector<GoldenRow>& rows, const GoldenImages& images, const GoldenImages& expected,
                           float largest_rms) {
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::optional<std::string> too_far = TooFar(images[i], expected[i], largest_rms);
    if (too_far.has_value()) return absl::InternalError(absl::StrCat(Describe(rows[i]), " differs ", *too_far));
  }
  return absl::OkStatus();
}

absl::Status CheckEngine(Engine& engine, const std::vector<GoldenRow>& rows, const GoldenImages& expected,
                         const GoldenTolerance& tolerance) {
  GoldenImages alone;
  for (size_t i = 0; i < rows.size(); ++i) {
    DENOISED_ASSIGN_OR_RETURN(const GoldenImages image, Draw(engine, {&rows[i]}, {0}, kAlone));
    DENOISED_RETURN_IF_ERROR(CheckNear(rows[i], kAlone, image[0], expected[i], tolerance.largest_rms));
    alone.push_back(image[0]);
  }
  const std::vector<const GoldenRow*> company = Company(rows, tolerance.company, engine.num_slots());
  DENOISED_ASSIGN_OR_RETURN(const GoldenImages together,
                            Draw(engine, company, LastSlots(company.size(), engine.num_slots()), kInCompany));
  for (size_t i = 0; i < together.size(); ++i) {
    const auto row = static_cast<size_t>(company[i] - rows.data());
    DENOISED_RETURN_IF_ERROR(CheckNear(rows[row], kInCompany, together[i], expected[row], tolerance.largest_rms));
    if (tolerance.exact_in_company && together[i] != alone[row]) {
      return Fault(rows[row], kInCompany, "is not what it is alone");
    }
  }
  return absl::OkStatus();
}

}  // namespace denoised
