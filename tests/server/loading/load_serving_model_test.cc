#include "server/loading/load_serving_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "common/diffusion/engine.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

// Whoever does not look at it goes on as if nobody else were at work.
TEST(LoadServingModelTest, EngineAndSchedulerLookAtWhetherAnotherIsAtWork) {
  const auto another_at_work = std::make_shared<AnotherAtWork>(true);
  {
    ServingModelOptions options;
    options.checkpoint = DENOISED_SOURCE_DIR "/models/mnist.pt";
    options.device = "cpu";
    options.threads = 1;
    options.max_batch_rows = 2;
    options.in_background = true;
    options.another_at_work = another_at_work;
    const int64_t before = another_at_work.use_count();
    const absl::StatusOr<std::shared_ptr<ServingModel>> model = LoadServingModel(options, nullptr);
    ASSERT_THAT(model, IsOk());
    EXPECT_GE(another_at_work.use_count(), before + 2);
  }
  EXPECT_EQ(another_at_work.use_count(), 1) << "and lets go of it when it ends";
}

}  // namespace
}  // namespace denoised
