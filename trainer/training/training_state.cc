#include "trainer/training/training_state.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/checkpoint/tensor_storage.h"
#include "common/support/digest.h"
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
              {"bad_batches_in_a_row", progress.bad_batches_in_a_row},
              {"other_seconds", progress.other_seconds},
              {"epoch_seconds", progress.epoch_seconds},
              {"epoch_images", progress.epoch_images},
              {"images", progress.images}}
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
  // States of before have none of these.
  progress.bad_batches = json.value("bad_batches", int64_t{0});
  progress.bad_batches_in_a_row = json.value("bad_batches_in_a_row", 0);
  progress.other_seconds = json.value("other_seconds", 0.0);
  progress.epoch_seconds = json.value("epoch_seconds", 0.0);
  progress.epoch_images = json.value("epoch_images", int64_t{0});
  progress.images = json.value("images", int64_t{0});
  return progress;
}

std::string ReadText(InputArchive& archive, const std::string& name) {
  c10::IValue value;
  archive.read(name, value);
  return value.toStringRef();
}

// What a run had that was begun before the flag was there; nothing where it was not recorded.
std::optional<std::string> ValueBefore(const std::string& flag) {
  if (flag == "--init" || flag == "--distill") return "none";
  if (flag == "--model_guidance") return "1";
  if (flag == "--model_guidance_below" || flag == "--model_guidance_from") return "0";
  if (flag == "--validation_images" || flag == "--max_steps") return "0";
  if (flag == "--accumulate") return "1";
  if (flag == "--keep_last_batch") return "off";
  for (const char* unrecorded : {"WORLD_SIZE (processes)", "--device", "--threads", "--epochs"}) {
    if (flag == unrecorded) return std::nullopt;
  }
  return "absent";
}

// Where it is not plain to see.
std::string WhyItMatters(const std::string& flag) {
  if (flag == "--epochs") return ", where the cosine of its learning rate ends";
  if (flag == "--threads") return ", by which sums are rounded";
  return "";
}

constexpr char kAdvice[] = "; resume with that run's flags, or name another --out";

// The data of a folder of PNGs are named by how many there are (LoadPngFolder).
bool IsDataOfPngs(const std::string& name) { return absl::StrContains(name, " PNG"); }

absl::Status CheckRecipe(const std::string& path, const std::string& found_text, const Recipe& recipe) {
  const Json found = Json::parse(found_text);
  for (const auto& [flag, value] : recipe) {
    const std::optional<std::string> before = ValueBefore(flag);
    if (!before && !found.contains(flag)) continue;
    const std::string was = found.value(flag, before.value_or(""));
    if (was == value) continue;
    if (IsDataOfPngs(flag)) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, " belongs to a run that learnt from other images than the ", flag,
                       " in --data: bring back those of then, or name another --out"));
    }
    return absl::FailedPreconditionError(
        absl::StrCat(path, " belongs to a run with ", flag, " ", was, ", not ", value, WhyItMatters(flag), kAdvice));
  }
  for (const auto& [flag, was] : found.items()) {
    const auto is_flag = [&name = flag](const auto& setting) { return setting.first == name; };
    if (std::any_of(recipe.begin(), recipe.end(), is_flag)) continue;
    return absl::FailedPreconditionError(absl::StrCat(path, " belongs to a run with ", flag, " ",
                                                      was.get<std::string>(), ", which this one lacks", kAdvice));
  }
  return absl::OkStatus();
}

std::string OriginText(const RunOrigin& origin) {
  return Json{{"command", origin.command},
              {"source_revision", origin.source_revision},
              {"libtorch_version", origin.libtorch_version}}
      .dump();
}

// "a, b" for "a" and then "b"; "a, b" for that and then "a".
std::string AndThen(const std::string& before, const std::string& now) {
  const std::vector<std::string> all = absl::StrSplit(before, ", ");
  return std::find(all.begin(), all.end(), now) != all.end() ? before : absl::StrCat(before, ", ", now);
}

// States of before it was recorded have none: then that of now is the best there is.
void RestoreOrigin(InputArchive& archive, RunOrigin& origin) {
  c10::IValue value;
  if (!archive.try_read("origin", value)) return;
  const Json json = Json::parse(value.toStringRef());
  origin.command = json.at("command");
  origin.source_revision = AndThen(json.at("source_revision"), origin.source_revision);
  origin.libtorch_version = AndThen(json.at("libtorch_version"), origin.libtorch_version);
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

// Adam's moments become what the archive holds, unseen by LibTorch, and stay where that was read to.
void SettleMoments(const torch::optim::AdamW& optimizer, const torch::Device& device) {
  for (const auto& [parameter, state] : optimizer.state()) {
    auto& adam = static_cast<torch::optim::AdamWParamState&>(*state);
    TORCH_CHECK(LiesInItsStorage(adam.exp_avg()) && LiesInItsStorage(adam.exp_avg_sq()), "data cut off");
    adam.exp_avg(adam.exp_avg().to(device));
    adam.exp_avg_sq(adam.exp_avg_sq().to(device));
  }
}

// The archive's last line: LibTorch does not notice a flipped bit, or ends the process over it.
constexpr std::string_view kSumMark = "\nsha256 ";
constexpr size_t kSumBytes = kSumMark.size() + 64;

std::string WithSum(std::string archive) {
  absl::StrAppend(&archive, kSumMark.data(), Sha256Hex(archive));
  return archive;
}

// The archive without its sum. Throws where they do not belong together; states of before have none.
std::string CheckedArchive(const std::string& bytes) {
  if (bytes.size() < kSumBytes) return bytes;
  const std::string_view sum = std::string_view(bytes).substr(bytes.size() - kSumBytes);
  if (!sum.starts_with(kSumMark)) return bytes;
  std::string archive = bytes.substr(0, bytes.size() - kSumBytes);
  if (Sha256Hex(archive) != sum.substr(kSumMark.size())) throw std::runtime_error("another sum");
  return archive;
}

// To the CPU: the GPU that wrote it may not be there, or be another process's.
InputArchive LoadArchive(const std::string& bytes) {
  std::istringstream stream(CheckedArchive(bytes));
  InputArchive archive;
  archive.load_from(stream, torch::kCPU);
  return archive;
}

}  // namespace

std::string SerializeTrainingState(const TrainingState& state) {
  OutputArchive archive, optimizer;
  archive.write("recipe", c10::IValue(RecipeText(*state.recipe)));
  archive.write("progress", c10::IValue(ProgressText(*state.progress)));
  archive.write("origin", c10::IValue(OriginText(*state.origin)));
  archive.write("log", c10::IValue(state.log->ToJsonLines()));
  WriteTensors(archive, "weight", state.weights);
  WriteTensors(archive, "average", state.averages);
  state.optimizer->save(optimizer);
  archive.write("optimizer", optimizer);
  std::ostringstream stream;
  archive.save_to(stream);
  return WithSum(std::move(stream).str());
}

std::string SavedFlag(const std::string& bytes, const std::string& flag) {
  try {
    InputArchive archive = LoadArchive(bytes);
    return Json::parse(ReadText(archive, "recipe")).value(flag, "");
  } catch (const std::exception&) {
    return "";  // RestoreTrainingState will say it
  }
}

absl::Status RestoreTrainingState(const std::string& path, const std::string& bytes, const TrainingState& state) {
  try {
    InputArchive archive = LoadArchive(bytes), optimizer;
    DENOISED_RETURN_IF_ERROR(CheckRecipe(path, ReadText(archive, "recipe"), *state.recipe));
    *state.progress = ParseProgress(ReadText(archive, "progress"));
    DENOISED_ASSIGN_OR_RETURN(*state.log, TrainingLog::FromJsonLines(ReadText(archive, "log")));
    RestoreOrigin(archive, *state.origin);
    ReadTensors(archive, "weight", state.weights);
    ReadTensors(archive, "average", state.averages);
    archive.read("optimizer", optimizer);
    state.optimizer->load(optimizer);
    SettleMoments(*state.optimizer, state.weights.at(0).device());
    return absl::OkStatus();
  } catch (const std::exception&) {  // LibTorch's messages hold stack traces: not for users
    return absl::DataLossError(
        absl::StrCat(path,
                     " is damaged, or of another version of this program; it cannot be resumed. Name another "
                     "--out to begin anew; the checkpoints beside it are whole"));
  }
}

}  // namespace denoised
