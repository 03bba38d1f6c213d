#include "common/model/model_metadata.h"

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/model/checked_json.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kPixelRange[] = "[-1, 1]";

// Where "blocks" is absent there is one at each resolution, as in all files of before there could be more.
std::vector<int> BlocksWhereAbsent(const UnetConfig& unet) {
  return unet.architecture == "seed" ? std::vector<int>() : UnetConfig().blocks;
}

Json UnetToJson(const UnetConfig& unet) {
  Json json = {{"name", unet.architecture},
               {"channels", unet.channels},
               {"embedding_dim", unet.embedding_dim},
               {"norm_groups", unet.norm_groups},
               {"num_labels", unet.num_labels}};
  if (unet.blocks != BlocksWhereAbsent(unet)) json["blocks"] = unet.blocks;
  return json;
}

Json ScheduleToJson(const ModelMetadata& metadata) {
  const NoiseScheduleConfig& schedule = metadata.noise_schedule;
  return {{"num_train_timesteps", schedule.num_train_timesteps},
          {"beta_start", schedule.beta_start},
          {"beta_end", schedule.beta_end},
          {"beta_schedule", schedule.beta_schedule},
          {"prediction_type", PredictionTypeName(schedule.prediction_type)},
          {"variance_type", VarianceTypeName(metadata.variance_type)},
          {"clip_sample", metadata.clip_sample}};
}

Json TrainingToJson(const TrainingRecord& training) {
  Json data = Json::object();
  for (const auto& [name, sha256] : training.data_sha256) data[name] = sha256;
  Json flags = Json::object();
  for (const auto& [flag, value] : training.flags) flags[flag] = value;
  return {{"data_sha256", data},
          {"epochs", training.epochs},
          {"images_seen", training.images_seen},
          {"best_loss", training.best_loss},
          {"ema_decay", training.ema_decay},
          {"seed", training.seed},
          {"command", training.command},
          {"init_sha256", training.init_sha256},
          {"flags", flags},
          {"source_revision", training.source_revision},
          {"libtorch_version", training.libtorch_version}};
}

Json RecordsToJson(const ModelMetadata& metadata) {
  Json records = Json::object();
  for (const auto& [name, record] : metadata.parameter_records) records[name] = record;
  return records;
}

// The readers below throw exceptions for a missing key or a wrong type; ParseModelMetadata turns them into a status.

std::vector<int> Integers(const Json& json) {
  std::vector<int> integers;
  for (const Json& element : json) integers.push_back(Integer<int>(element));
  return integers;
}

UnetConfig UnetFromJson(const Json& json) {
  UnetConfig unet;
  unet.architecture = json.at("name");
  unet.channels = Integers(json.at("channels"));
  unet.blocks = json.contains("blocks") ? Integers(json.at("blocks")) : BlocksWhereAbsent(unet);
  unet.embedding_dim = Integer<int>(json.at("embedding_dim"));
  unet.norm_groups = Integer<int>(json.at("norm_groups"));
  unet.num_labels = Integer<int>(json.at("num_labels"));
  return unet;
}

absl::Status ScheduleFromJson(const Json& json, ModelMetadata& metadata) {
  NoiseScheduleConfig& schedule = metadata.noise_schedule;
  schedule.num_train_timesteps = Integer<int>(json.at("num_train_timesteps"));
  schedule.beta_start = json.at("beta_start");
  schedule.beta_end = json.at("beta_end");
  schedule.beta_schedule = json.at("beta_schedule");
  DENOISED_ASSIGN_OR_RETURN(schedule.prediction_type, ParsePredictionType(json.at("prediction_type")));
  DENOISED_ASSIGN_OR_RETURN(metadata.variance_type, ParseVarianceType(json.at("variance_type")));
  metadata.clip_sample = json.at("clip_sample");
  return NoiseSchedule::Create(schedule).status();
}

TrainingRecord TrainingFromJson(const Json& json) {
  TrainingRecord training;
  for (const auto& [name, sha256] : json.at("data_sha256").items()) training.data_sha256.emplace_back(name, sha256);
  training.epochs = Integer<int64_t>(json.at("epochs"));
  training.images_seen = Integer<int64_t>(json.at("images_seen"));
  training.best_loss = json.at("best_loss");
  training.ema_decay = json.at("ema_decay");
  training.seed = Integer<uint64_t>(json.at("seed"));
  training.command = json.at("command");
  training.init_sha256 = json.value("init_sha256", "");
  if (json.contains("flags")) {
    for (const auto& [flag, value] : json.at("flags").items()) training.flags.emplace_back(flag, value);
  }
  training.source_revision = json.at("source_revision");
  training.libtorch_version = json.at("libtorch_version");
  return training;
}

absl::Status ValidateLabels(const ModelMetadata& metadata) {
  const int classes = static_cast<int>(metadata.class_names.size());
  if (classes < 1 || metadata.unet.num_labels < classes) {
    return absl::InvalidArgumentError(
        absl::StrCat("class_names lists ", classes, " classes, architecture.num_labels is ", metadata.unet.num_labels));
  }
  if (metadata.null_label && (*metadata.null_label < classes || *metadata.null_label >= metadata.unet.num_labels)) {
    return absl::InvalidArgumentError(absl::StrCat("null_label must be ", classes, " to ", metadata.unet.num_labels - 1,
                                                   ", got ", *metadata.null_label));
  }
  return absl::OkStatus();
}

// Absent in files of networks that are no students.
absl::Status DistilledStepsFromJson(const Json& json, ModelMetadata& metadata) {
  if (!json.contains("distilled_steps")) return absl::OkStatus();
  metadata.distilled_steps = Integer<int>(json.at("distilled_steps"));
  const int most = metadata.noise_schedule.num_train_timesteps;
  if (metadata.distilled_steps >= 1 && metadata.distilled_steps <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("distilled_steps must be 1 to ", most, ", got ", metadata.distilled_steps));
}

// Absent in files of networks whose pixels are taken as they are.
absl::Status BlackBelowFromJson(const Json& json, ModelMetadata& metadata) {
  if (!json.contains("black_below")) return absl::OkStatus();
  metadata.black_below = Integer<int>(json.at("black_below"));
  if (metadata.black_below >= 1 && metadata.black_below <= kMostBlackBelow) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("black_below must be 1 to ", kMostBlackBelow, ", got ", metadata.black_below));
}

absl::StatusOr<ModelMetadata> FromJson(const Json& json) {
  ModelMetadata metadata;
  metadata.format_version = Integer<int>(json.at("format_version"));
  if (metadata.format_version != kCheckpointFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the checkpoint has format version ", metadata.format_version, ", this build reads version ",
        kCheckpointFormatVersion, "; use the denoised that belongs to it, or train again with this denoise-train"));
  }
  metadata.unet = UnetFromJson(json.at("architecture"));
  DENOISED_RETURN_IF_ERROR(ValidateUnetConfig(metadata.unet));
  DENOISED_RETURN_IF_ERROR(ScheduleFromJson(json.at("noise_schedule"), metadata));
  if (json.at("pixel_range") != kPixelRange) {
    return absl::InvalidArgumentError(
        absl::StrCat("pixel_range must be \"", kPixelRange, "\", got ", json.at("pixel_range").dump()));
  }
  metadata.class_names = json.at("class_names").get<std::vector<std::string>>();
  if (!json.at("null_label").is_null()) metadata.null_label = Integer<int>(json.at("null_label"));
  DENOISED_RETURN_IF_ERROR(ValidateLabels(metadata));
  DENOISED_RETURN_IF_ERROR(DistilledStepsFromJson(json, metadata));
  DENOISED_RETURN_IF_ERROR(BlackBelowFromJson(json, metadata));
  metadata.parameters_sha256 = json.at("parameters_sha256");
  if (json.contains("parameters")) {
    for (const auto& [name, record] : json.at("parameters").items()) {
      metadata.parameter_records.emplace_back(name, record);
    }
  }
  metadata.training = TrainingFromJson(json.at("training"));
  metadata.evaluation_json = json.at("evaluation").dump();
  return metadata;
}

absl::Status NotExpected(const std::string& why) {
  return absl::InvalidArgumentError(
      absl::StrCat("denoised.json in the checkpoint is not what this build expects (", Shortened(why),
                   "); the file was not written by denoise-train, or it is damaged: copy it again or train a new one"));
}

}  // namespace

absl::Status ValidateUnetBlocks(const UnetConfig& config) {
  if (config.architecture == "seed") {
    if (config.blocks.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError("architecture \"seed\" has no residual blocks to count; \"compact\" has");
  }
  const size_t levels = UnetConfig().blocks.size();
  if (config.blocks.size() != levels) {
    return absl::InvalidArgumentError(
        absl::StrCat("architecture \"compact\" has ", levels, " block counts, got ", config.blocks.size()));
  }
  for (const int blocks : config.blocks) {
    if (blocks >= 1 && blocks <= kMaxBlocks) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("blocks must be 1 to ", kMaxBlocks, " at each resolution, got ", blocks));
  }
  return absl::OkStatus();
}

absl::Status ValidateUnetConfig(const UnetConfig& config) {
  if (config.architecture != "compact" && config.architecture != "seed") {
    return absl::InvalidArgumentError(
        absl::StrCat("architecture must be \"compact\" or \"seed\", got \"", config.architecture, "\""));
  }
  const size_t levels = config.architecture == "seed" ? 4 : 3;
  if (config.channels.size() != levels) {
    return absl::InvalidArgumentError(absl::StrCat("architecture \"", config.architecture, "\" has ", levels,
                                                   " channel counts, got ", config.channels.size()));
  }
  if (config.norm_groups < 1) {
    return absl::InvalidArgumentError(absl::StrCat("norm_groups must be at least 1, got ", config.norm_groups));
  }
  for (const int channels : config.channels) {
    if (channels < 1 || channels > 4096 || channels % config.norm_groups != 0) {
      return absl::InvalidArgumentError(absl::StrCat("channels must be multiples of norm_groups (", config.norm_groups,
                                                     ") up to 4096, got ", channels));
    }
  }
  DENOISED_RETURN_IF_ERROR(ValidateUnetBlocks(config));
  if (config.embedding_dim < 4 || config.embedding_dim > 4096 || config.embedding_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("embedding_dim must be an even number from 4 to 4096, got ", config.embedding_dim));
  }
  if (config.num_labels < 1 || config.num_labels > 100'000) {
    return absl::InvalidArgumentError(absl::StrCat("num_labels must be 1 to 100000, got ", config.num_labels));
  }
  return absl::OkStatus();
}

std::string SerializeModelMetadata(const ModelMetadata& metadata) {
  Json json = {
      {"format_version", metadata.format_version},
      {"architecture", UnetToJson(metadata.unet)},
      {"noise_schedule", ScheduleToJson(metadata)},
      {"pixel_range", kPixelRange},
      {"class_names", metadata.class_names},
      {"null_label", metadata.null_label ? Json(*metadata.null_label) : Json(nullptr)},
      {"parameters_sha256", metadata.parameters_sha256},
      {"parameters", RecordsToJson(metadata)},
      {"training", TrainingToJson(metadata.training)},
      {"evaluation", Json::parse(metadata.evaluation_json)},
  };
  if (metadata.distilled_steps > 0) json["distilled_steps"] = metadata.distilled_steps;
  if (metadata.black_below > 0) json["black_below"] = metadata.black_below;
  return json.dump(2) + "\n";
}

absl::StatusOr<ModelMetadata> ParseModelMetadata(std::string_view json) {
  try {
    const absl::StatusOr<Json> parsed = ParseFlatJson<Json>(json, kMaxMetadataBytes);
    if (!parsed.ok()) return NotExpected(std::string(parsed.status().message()));
    absl::StatusOr<ModelMetadata> metadata = FromJson(*parsed);
    if (metadata.ok()) return metadata;
    return absl::Status(metadata.status().code(), Shortened(std::string(metadata.status().message())));
  } catch (const std::exception& e) {
    return NotExpected(e.what());
  }
}

}  // namespace denoised
