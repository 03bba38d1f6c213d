#include "client/show_model.h"

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/await_server.h"
#include "common/support/class_names.h"
#include "common/support/counted.h"
#include "common/support/quoted.h"
#include "common/support/status_macros.h"
#include "google/protobuf/util/json_util.h"

namespace denoised {
namespace {

// Digits in one line, other classes each in one of its own, which is indented as the table's second column is.
std::string ClassesText(const v1::GetModelResponse& model) {
  const std::vector<std::string> names(model.class_names().begin(), model.class_names().end());
  if (AreCalledByNumber(names)) return absl::StrJoin(names, " ");
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    absl::StrAppendFormat(&text, "%s%2d  %s", i == 0 ? "" : "\n                ", i, Visible(names[i]));
  }
  return text;
}

}  // namespace

absl::Status ShowModel(DigitClient& client, const ClientOptions& options) {
  DENOISED_RETURN_IF_ERROR(AwaitServer(client, options));
  DENOISED_ASSIGN_OR_RETURN(const v1::GetModelResponse model, client.GetModel(options.call));
  if (options.json) {
    google::protobuf::util::JsonPrintOptions all;
    all.preserve_proto_field_names = true;
    all.always_print_primitive_fields = true;
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
      {"classes", ClassesText(model)},
      {"guidance", model.supports_guidance() ? "yes" : "no"},
      {"device", model.device()},
      {"limits", absl::StrCat(model.max_images_per_request(), " images per request, ", model.max_queued_images(),
                              " waiting, ", model.max_batch_rows(), " rows per step at most")},
  };
  if (const uint32_t steps = model.distilled_steps(); steps > 0) {
    rows.emplace_back("draws in", absl::StrCat(Counted(steps, "step"), " of ddim alone"));
  }
  if (!model.engine().empty()) rows.emplace_back("engine", model.engine());  // older servers do not tell
  for (const auto& [name, value] : rows) std::printf("%-15s %s\n", name.c_str(), value.c_str());
  return absl::OkStatus();
}

}  // namespace denoised
