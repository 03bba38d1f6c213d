// A GenerateDigitRequest as it comes off the wire. The first byte chooses between a model that can guide and one that
// cannot, between digits and classes with names, and between a student and a model that draws any chain.
#include <string>

#include "common/diffusion/noise_schedule.h"
#include "common/model/model_metadata.h"
#include "denoised/v1/digit_service.pb.h"
#include "server/service/grpc_status.h"
#include "server/service/request_validation.h"
#include "tests/fuzz/fuzz_check.h"

namespace denoised {
namespace {

constexpr uint32_t kMaxImages = 100;

ModelMetadata Model(bool guides, bool has_names, bool is_student) {
  ModelMetadata model;
  if (guides) model.null_label = 10;
  if (is_student) model.distilled_steps = 4;
  if (has_names)
    model.class_names = {"cat", "Cat", "Ankle boot", "Fußball", "\x1b[31m\n", std::string(100'000, 'x'), "a"};
  return model;
}

void CheckValid(const ValidRequest& valid, const ModelMetadata& model, const NoiseSchedule& schedule) {
  FUZZ_CHECK(valid.draw.label >= 0 && static_cast<size_t>(valid.draw.label) < model.class_names.size());
  FUZZ_CHECK(valid.draw.count >= 1 && valid.draw.count <= kMaxImages);
  FUZZ_CHECK(valid.draw.plan != nullptr && !valid.draw.plan->empty());
  FUZZ_CHECK(valid.draw.plan->size() <= static_cast<size_t>(schedule.num_train_timesteps()));
  FUZZ_CHECK(model.distilled_steps == 0 || valid.draw.plan->size() == 4);
  FUZZ_CHECK(valid.draw.guidance_scale >= 1 && valid.draw.guidance_scale <= 10);
  FUZZ_CHECK(valid.draw.guidance_scale == 1 || model.null_label.has_value());
  FUZZ_CHECK(valid.format.size >= 32 && valid.format.size <= 1024);
}

// More than this becomes another status on its way (a header of 8 kB).
void CheckRefusal(const absl::Status& status) {
  FUZZ_CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  const grpc::Status sent = ToGrpcStatus(status);
  FUZZ_CHECK(sent.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  FUZZ_CHECK(!sent.error_message().empty() && sent.error_message().size() <= 1024);
  FUZZ_CHECK(sent.error_message().find('\n') == std::string::npos);
  FUZZ_CHECK(sent.error_details().size() <= 4096);
}

}  // namespace
}  // namespace denoised

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace denoised;  // NOLINT(google-build-using-namespace)
  static const NoiseSchedule schedule = *NoiseSchedule::Create({});
  std::string_view text = FuzzText(data, size);
  const auto choice = TakeByte(text);
  const ModelMetadata model = Model((choice & 1) != 0, (choice & 2) != 0, (choice & 4) != 0);
  v1::GenerateDigitRequest request;
  if (!request.ParseFromArray(text.data(), static_cast<int>(text.size()))) return 0;
  const absl::StatusOr<ValidRequest> valid = ValidateRequest(request, model, schedule, kMaxImages, 42);
  if (valid.ok()) {
    CheckValid(*valid, model, schedule);
  } else {
    CheckRefusal(valid.status());
  }
  return 0;
}
