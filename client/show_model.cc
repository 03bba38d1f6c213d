#include "client/show_model.h"

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/await_server.h"
#include "common/support/status_macros.h"
#include "google/protobuf/util/json_util.h"

namespace denoised {

absl::Status ShowModel(DigitClient& client, const ClientOptions& options) {
  DENOISED_RETURN_IF_ERROR(AwaitServer(client, options));
  DENOISED_ASSIGN_OR_RETURN(const v1::GetModelResponse model, client.GetModel(options.call));
  if (options.json) {
    google::protobuf::util::JsonPrintOptions all;
    all.preserve_proto_field_names = true;
    std::string json;
    static_cast<void>(google::protobuf::util::MessageToJsonString(model, &json, all));
    std::puts(json.c_str());
    return absl::OkStatus();
  }
  const v1::NoiseSchedule& schedule = model.noise_schedule();
  std::vector<std::pair<std::string, std::string>> rows = {
      {"model", model.model_version()},
      {"sha256", model.sha256()},
      {"architecture", absl::StrCat(model.architecture(), ", ", model.parameter_count(), " parameters")},
      {"noise schedule", absl::StrCat(schedule.num_train_timesteps(), " steps, ", schedule.beta_schedule(), ", beta ",
                                      schedule.beta_start(), " to ", schedule.beta_end())},
      {"predicts", schedule.prediction_type()},
      {"classes", absl::StrJoin(model.class_names(), " ")},
      {"guidance", model.supports_guidance() ? "yes" : "no"},
      {"device", model.device()},
      {"limits", absl::StrCat(model.max_images_per_request(), " images per request, ", model.max_queued_images(),
                              " waiting, ", model.max_batch_rows(), " rows per step at most")},
  };
  if (!model.engine().empty()) rows.emplace_back("engine", model.engine());  // older servers do not tell
  for (const auto& [name, value] : rows) std::printf("%-15s %s\n", name.c_str(), value.c_str());
  return absl::OkStatus();
}

}  // namespace denoised
