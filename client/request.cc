#include "client/request.h"

#include <algorithm>

namespace denoised {
namespace {

constexpr int kFramesPerChain = 20;

}  // namespace

uint32_t ImagesWanted(const ClientOptions& options) {
  return options.index.has_value() || options.watch ? 1 : options.count;
}

v1::GenerateDigitRequest MakeRequest(const ClientOptions& options) {
  v1::GenerateDigitRequest request;
  if (options.digit.has_value()) request.set_digit(*options.digit);
  request.set_class_name(options.class_name);
  request.set_count(ImagesWanted(options));
  request.set_first_image(options.index.value_or(0));
  if (options.seed.has_value()) request.set_seed(*options.seed);
  request.set_sampler(options.sampler);
  request.set_steps(options.steps);
  request.set_priority(options.priority);
  if (options.eta.has_value()) request.set_eta(*options.eta);
  if (options.guidance_scale.has_value()) request.set_guidance_scale(*options.guidance_scale);
  if (options.size.has_value()) request.mutable_image()->set_size(*options.size);
  request.mutable_image()->set_interpolation(options.interpolation);
  return request;
}

void AskForPreviews(const ClientOptions& options, uint32_t steps, v1::GenerateDigitRequest& request) {
  const uint32_t every = options.preview_every > 0 ? options.preview_every : std::max(1u, steps / kFramesPerChain);
  request.mutable_preview()->set_every_steps(every);
  request.mutable_preview()->set_kind(options.preview_kind);
}

uint32_t ExpectedSteps(const ClientOptions& options, uint32_t distilled_steps) {
  if (options.steps > 0) return options.steps;
  if (distilled_steps > 0) return distilled_steps;
  switch (options.sampler) {
    case v1::SAMPLER_DDIM:
      return 50;
    case v1::SAMPLER_DPM_SOLVER_PP_2M:
      return 20;
    default:
      return 1000;
  }
}

}  // namespace denoised
