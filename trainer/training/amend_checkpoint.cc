#include "trainer/training/amend_checkpoint.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/model/model_metadata.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxBytes = 1 << 20;
constexpr char kSha256[] = "checkpoint_sha256";

absl::StatusOr<Json> ReadRun(const std::string& path) {
  DENOISED_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxBytes));
  Json run = Json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (run.is_object() && run.contains("figures") && run.contains("seeds") && run.value(kSha256, Json()).is_string()) {
    return run;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(path, " is no seeds.json of denoise-eval; denoise-eval --seeds 3 --checkpoint FILE writes one"));
}

// Those that the checkpoint has.
Json RunsIn(const ModelMetadata& metadata) {
  const Json evaluation = Json::parse(metadata.evaluation_json);
  Json runs = Json::array();
  if (!evaluation.is_object() || !evaluation.contains("runs")) return runs;
  for (const Json& run : evaluation["runs"]) {
    if (run.is_object()) runs.push_back(run);
  }
  return runs;
}

// Files of before do not say the last three.
bool SameSettings(const Json& a, const Json& b) {
  constexpr const char* kSettings[] = {"reference", "sampler", "steps", "guidance_scale", "count", "seeds"};
  constexpr const char* kLaterSettings[] = {"eta", "precision", "judges"};
  const auto same = [&](const char* key) { return a.value(key, Json()) == b.value(key, Json()); };
  const auto same_if_said = [&](const char* key) { return !a.contains(key) || !b.contains(key) || same(key); };
  return std::all_of(std::begin(kSettings), std::end(kSettings), same) &&
         std::all_of(std::begin(kLaterSettings), std::end(kLaterSettings), same_if_said);
}

// A file that has got figures is another file of the same weights.
absl::Status ExpectSameWeights(const Checkpoint& checkpoint, const Json& runs, const Json& run,
                               const std::string& name) {
  const std::string sha256 = run[kSha256];
  if (sha256 == checkpoint.sha256) return absl::OkStatus();
  for (const Json& known : runs) {
    if (known.value(kSha256, Json()) == sha256) return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(name, " has the figures of another checkpoint: its SHA-256 is ",
                                                    sha256, ", here it is ", checkpoint.sha256));
}

void Add(Json& runs, Json run) {
  const auto same = std::find_if(runs.begin(), runs.end(), [&](const Json& known) { return SameSettings(known, run); });
  if (same == runs.end()) {
    runs.push_back(std::move(run));
  } else {
    *same = std::move(run);
  }
}

}  // namespace

absl::Status AddEvaluations(const std::string& checkpoint, const std::vector<std::string>& files) {
  DENOISED_ASSIGN_OR_RETURN(Checkpoint loaded, LoadCheckpoint(checkpoint));
  Json runs = RunsIn(loaded.metadata);
  for (const std::string& file : files) {
    DENOISED_ASSIGN_OR_RETURN(Json run, ReadRun(file));
    DENOISED_RETURN_IF_ERROR(ExpectSameWeights(loaded, runs, run, file));
    Add(runs, std::move(run));
  }
  Json evaluation = Json::object();
  evaluation["runs"] = std::move(runs);
  loaded.metadata.evaluation_json = evaluation.dump();
  if (!ParseModelMetadata(SerializeModelMetadata(loaded.metadata)).ok()) {
    return absl::InvalidArgumentError(absl::StrCat("with these figures programs could no longer read ", checkpoint,
                                                   ", which is as it was: they are too many or no figures; at most ",
                                                   kMaxMetadataBytes >> 10, " KiB are read"));
  }
  return SaveCheckpoint(checkpoint, std::move(loaded.metadata), loaded.unet);
}

absl::Status SetBlackBelow(const std::string& checkpoint, int black_below) {
  DENOISED_ASSIGN_OR_RETURN(Checkpoint loaded, LoadCheckpoint(checkpoint));
  loaded.metadata.black_below = black_below;
  loaded.metadata.evaluation_json = "{}";
  return SaveCheckpoint(checkpoint, std::move(loaded.metadata), loaded.unet);
}

}  // namespace denoised
