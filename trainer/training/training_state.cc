#include "trainer/training/training_state.h"

#include <torch/torch.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/tensor_storage.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

using Json = nlohmann::ordered_json;
using torch::serialize::InputArchive;
using torch::serialize::OutputArchive;

std::string RecipeText(const Recipe& recipe) {
  Json json = Json::object();
  for (const auto& [flag, value] : recipe) json[flag] = value;
  return json.dump();
}

std::string ProgressText(const TrainingProgressState& progress) {
  const Json best_loss = std::isfinite(progress.best_loss) ? Json(progress.best_loss) : Json(nullptr);
  return Json{{"epoch", progress.epoch},
              {"batch", progress.batch},
              {"loss_sum", progress.loss_sum},
              {"step", progress.step},
              {"best_loss", best_loss},
              {"epochs_without_progress", progress.epochs_without_progress},
              {"seconds", progress.seconds},
              {"bad_batches", progress.bad_batches},
              {"bad_batches_in_a_row", progress.bad_batches_in_a_row}}
      .dump();
}

TrainingProgressState ParseProgress(const std::string& text) {
  const Json json = Json::parse(text);
  TrainingProgressState progress;
  progress.epoch = json.at("epoch");
  progress.batch = json.at("batch");
  progress.loss_sum = json.at("loss_sum");
  progress.step = json.at("step");
  if (!json.at("best_loss").is_null()) progress.best_loss = json.at("best_loss");
  progress.epochs_without_progress = json.at("epochs_without_progress");
  progress.seconds = json.at("seconds");
  progress.bad_batches = json.value("bad_batches", int64_t{0});  // not in states of before
  progress.bad_batches_in_a_row = json.value("bad_batches_in_a_row", 0);
  return progress;
}

std::string ReadText(InputArchive& archive, const std::string& name) {
  c10::IValue value;
  archive.read(name, value);
  return value.toStringRef();
}

// What a run had that was begun before the flag was there.
std::string ValueBefore(const std::string& flag) {
  if (flag == "--init") return "none";
  if (flag == "--model_guidance") return "1";
  return "absent";
}

absl::Status CheckRecipe(const std::string& path, const std::string& found_text, const Recipe& recipe) {
  const Json found = Json::parse(found_text);
  for (const auto& [flag, value] : recipe) {
    const std::string was = found.value(flag, ValueBefore(flag));
    if (was == value) continue;
    return absl::FailedPreconditionError(absl::StrCat(path, " belongs to a run with ", flag, " ", was, ", not ", value,
                                                      "; resume with that run's flags, or name another --out"));
  }
  return absl::OkStatus();
}

void WriteTensors(OutputArchive& archive, const std::string& name, const std::vector<at::Tensor>& tensors) {
  for (size_t i = 0; i < tensors.size(); ++i) archive.write(absl::StrCat(name, i), tensors[i].detach());
}

// Copies into the tensors that are there, wherever they are.
void ReadTensors(InputArchive& archive, const std::string& name, const std::vector<at::Tensor>& tensors) {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < tensors.size(); ++i) {
    at::Tensor saved;
    archive.read(absl::StrCat(name, i), saved);
    TORCH_CHECK(LiesInItsStorage(saved), "data cut off");
    at::Tensor(tensors[i]).copy_(saved);
  }
}

// Adam's moments become what the archive holds, unseen by LibTorch.
void CheckMoments(const torch::optim::AdamW& optimizer) {
  for (const auto& [parameter, state] : optimizer.state()) {
    const auto& adam = static_cast<const torch::optim::AdamWParamState&>(*state);
    TORCH_CHECK(LiesInItsStorage(adam.exp_avg()) && LiesInItsStorage(adam.exp_avg_sq()), "data cut off");
  }
}

}  // namespace

std::string SerializeTrainingState(const TrainingState& state) {
  OutputArchive archive, optimizer;
  archive.write("recipe", c10::IValue(RecipeText(*state.recipe)));
  archive.write("progress", c10::IValue(ProgressText(*state.progress)));
  archive.write("log", c10::IValue(state.log->ToJsonLines()));
  WriteTensors(archive, "weight", state.weights);
  WriteTensors(archive, "average", state.averages);
  state.optimizer->save(optimizer);
  archive.write("optimizer", optimizer);
  std::ostringstream stream;
  archive.save_to(stream);
  return std::move(stream).str();
}

absl::Status RestoreTrainingState(const std::string& path, const std::string& bytes, const TrainingState& state) {
  try {
    std::istringstream stream(bytes);
    InputArchive archive, optimizer;
    archive.load_from(stream);
    DENOISED_RETURN_IF_ERROR(CheckRecipe(path, ReadText(archive, "recipe"), *state.recipe));
    *state.progress = ParseProgress(ReadText(archive, "progress"));
    DENOISED_ASSIGN_OR_RETURN(*state.log, TrainingLog::FromJsonLines(ReadText(archive, "log")));
    ReadTensors(archive, "weight", state.weights);
    ReadTensors(archive, "average", state.averages);
    archive.read("optimizer", optimizer);
    state.optimizer->load(optimizer);
    CheckMoments(*state.optimizer);
    return absl::OkStatus();
  } catch (const std::exception&) {  // LibTorch's messages hold stack traces: not for users
    return absl::DataLossError(
        absl::StrCat(path,
                     " is damaged, or of another version of this program; it cannot be resumed. Name another "
                     "--out to begin anew; the checkpoints beside it are whole"));
  }
}

}  // namespace denoised
