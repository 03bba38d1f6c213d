#include "common/diffusion/golden_draw.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "common/diffusion/image_state.h"
#include "common/image/image.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr int kNullLabel = 10;

// A network of its own kind: what it says depends on the image, the timestep and the label.
void Network(const float* x, int timestep, int label, float* e) {
  for (int i = 0; i < kModelPixels; ++i) {
    e[i] = 0.9f * x[i] + 0.0002f * static_cast<float>(timestep) + 0.03f * static_cast<float>(label);
  }
}

// An engine as its interface says, with a fault if a test wants one.
class FaultyEngine : public Engine {
 public:
  enum class Fault { kNone, kWeights, kOneRow, kNan, kCompany, kStep, kLastSlot };

  explicit FaultyEngine(Fault fault) : fault_(fault) {}

  int num_slots() const override { return kSlots; }

  absl::Status Step(absl::Span<const StepRow> rows) override {
    if (fault_ == Fault::kStep) return absl::InternalError("no memory");
    for (size_t i = 0; i < rows.size(); ++i) {
      const StepRow& row = rows[i];
      if (row.step == 0) state_.Start(row);
      float e[2 * kModelPixels];
      const int timestep = (*row.plan)[row.step].timestep;
      Network(state_.x(row.slot), timestep, row.label, e);
      if (row.guidance_scale != 1) {
        Network(state_.x(row.slot), timestep, kNullLabel, e + kModelPixels);
        Guide(row.guidance_scale, e + kModelPixels, e);
      }
      Spoil(rows, i, e);
      state_.Update(row, e);
    }
    return absl::OkStatus();
  }

  absl::Status Read(int slot, FrameKind kind, absl::Span<float> pixels) override {
    return state_.Read(slot, kind, pixels);
  }

 private:
  static constexpr int kSlots = 12;

  void Spoil(absl::Span<const StepRow> rows, size_t i, float* e) const {
    const bool wrong = fault_ == Fault::kWeights || (fault_ == Fault::kOneRow && rows.size() > 1 && i == 2) ||
                       (fault_ == Fault::kLastSlot && rows[i].slot == kSlots - 1);
    for (int pixel = 0; wrong && pixel < kModelPixels; ++pixel) e[pixel] *= 1.2f;
    if (fault_ == Fault::kNan && rows[i].label == 7) e[17] = std::numeric_limits<float>::quiet_NaN();
    if (fault_ == Fault::kCompany && rows.size() > 1) e[5] += 1e-5f;
  }

  const Fault fault_;
  ImageState state_{kSlots};
};

class GoldenDrawTest : public testing::Test {
 protected:
  absl::Status Check(FaultyEngine::Fault fault, bool exact_in_company = true, int company = 12) {
    FaultyEngine engine(fault);
    return CheckEngine(engine, rows_, DrawPlainly(rows_, kNullLabel, Network),
                       {.largest_rms = 1e-3f, .exact_in_company = exact_in_company, .company = company});
  }

  const std::vector<GoldenRow> rows_ =
      GoldenRows(*NoiseSchedule::Create({}), {.classes = 10, .null_label = kNullLabel});
};

TEST_F(GoldenDrawTest, EngineThatFollowsTheFormulasPasses) { EXPECT_THAT(Check(FaultyEngine::Fault::kNone), IsOk()); }

TEST_F(GoldenDrawTest, WrongWeightsAreFound) {
  EXPECT_THAT(Check(FaultyEngine::Fault::kWeights),
              StatusIs(absl::StatusCode::kInternal,
                       AllOf(HasSubstr("the self-test failed: label 0 by ddpm, drawn alone, differs from the fp32 "
                                       "reference by "),
                             HasSubstr("and 0.001 is allowed"))));
}

TEST_F(GoldenDrawTest, OneWrongRowOfAStepIsFound) {
  EXPECT_THAT(Check(FaultyEngine::Fault::kOneRow),
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("label 7 by ddim, drawn together with others, differs from the fp32 reference by ")));
}

TEST_F(GoldenDrawTest, WrongSlotIsFound) {
  EXPECT_THAT(Check(FaultyEngine::Fault::kLastSlot),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("drawn together with others, differs")));
}

TEST_F(GoldenDrawTest, NanIsFound) {
  EXPECT_THAT(Check(FaultyEngine::Fault::kNan),
              StatusIs(absl::StatusCode::kInternal,
                       "the self-test failed: label 7 by ddim, drawn alone, fails: the network produced values that "
                       "are not finite numbers"));
}

TEST_F(GoldenDrawTest, CompanyThatChangesABitIsFound) {
  EXPECT_THAT(Check(FaultyEngine::Fault::kCompany),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("drawn together with others, is not what it is alone")));
  EXPECT_THAT(Check(FaultyEngine::Fault::kCompany, /*exact_in_company=*/false), IsOk());
  // The guided row between them does not fit then: it is passed over.
  EXPECT_THAT(Check(FaultyEngine::Fault::kCompany, /*exact_in_company=*/true, /*company=*/2),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("drawn together with others, is not what it is alone")));
  EXPECT_THAT(Check(FaultyEngine::Fault::kNone, /*exact_in_company=*/true, /*company=*/2), IsOk());
}

TEST_F(GoldenDrawTest, StepThatFailsIsTold) {
  EXPECT_THAT(
      Check(FaultyEngine::Fault::kStep),
      StatusIs(absl::StatusCode::kInternal, "the self-test failed: label 0 by ddpm, drawn alone, fails: no memory"));
}

TEST_F(GoldenDrawTest, ImagesDrawnElsewhereAreCompared) {
  const GoldenImages images = DrawPlainly(rows_, kNullLabel, Network);
  EXPECT_THAT(CompareImages(rows_, images, images, 0), IsOk());
  GoldenImages others = images;
  for (float& pixel : others[2]) pixel -= 0.25f;
  EXPECT_THAT(CompareImages(rows_, images, others, 0.3f), IsOk());
  EXPECT_THAT(
      CompareImages(rows_, images, others, 0.2f),
      StatusIs(absl::StatusCode::kInternal, "label 7 by ddim differs by 0.25 (root mean square), and 0.2 is allowed"));
}

TEST(GoldenRowsTest, GuidanceIsAskedOnlyOfNetworksThatHaveLearntIt) {
  const NoiseSchedule schedule = *NoiseSchedule::Create({});
  const auto guided = [](const GoldenRow& row) { return row.guidance_scale != 1; };
  const std::vector<GoldenRow> with = GoldenRows(schedule, {.null_label = 10}), without = GoldenRows(schedule, {});
  EXPECT_TRUE(std::any_of(with.begin(), with.end(), guided));
  EXPECT_FALSE(std::any_of(without.begin(), without.end(), guided));
}

TEST(GoldenRowsTest, LabelsAreOfTheClassesThereAre) {
  for (const GoldenRow& row : GoldenRows(*NoiseSchedule::Create({}), {.classes = 2})) EXPECT_LT(row.label, 2);
}

TEST(GoldenRowsTest, ScheduleMayBeShorterThanTheChains) {
  const NoiseSchedule schedule = *NoiseSchedule::Create({.num_train_timesteps = 2});
  for (const GoldenRow& row : GoldenRows(schedule, {})) EXPECT_EQ(row.plan.size(), 2u);
}

}  // namespace
}  // namespace denoised
