#include "trainer/training/training_log.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/command_line/progress_bar.h"
#include "common/plot/plot.h"
#include "common/support/clock.h"

namespace denoised {
namespace {

using Json = nlohmann::ordered_json;

Json ToJson(const EpochRecord& record) {
  Json json = {{"epoch", record.epoch}, {"loss", record.loss}};
  if (record.validation_loss) json["validation_loss"] = *record.validation_loss;
  json.update({{"best_loss", std::isfinite(record.best_loss) ? Json(record.best_loss) : Json(nullptr)},
               {"learning_rate", record.learning_rate},
               {"images_seen", record.images_seen},
               {"bad_batches", record.bad_batches},
               {"images_per_second", record.images_per_second},
               {"seconds", record.seconds},
               {"other_seconds", record.other_seconds}});
  return json;
}

// No epoch was the best yet: null.
double BestLoss(const Json& json) {
  return json.is_null() ? std::numeric_limits<double>::infinity() : json.get<double>();
}

// Throws Json::exception for a missing field or a wrong type.
EpochRecord FromJson(const Json& json) {
  std::optional<double> validation_loss;
  if (json.contains("validation_loss")) validation_loss = json.at("validation_loss").get<double>();
  return {.epoch = json.at("epoch"),
          .loss = json.at("loss"),
          .validation_loss = validation_loss,
          .best_loss = BestLoss(json.at("best_loss")),
          .learning_rate = json.at("learning_rate"),
          .images_seen = json.at("images_seen"),
          .bad_batches = json.value("bad_batches", int64_t{0}),  // logs of before have neither this nor other_seconds
          .images_per_second = json.at("images_per_second"),
          .seconds = json.at("seconds"),
          .other_seconds = json.value("other_seconds", 0.0)};
}

}  // namespace

std::string TrainingLog::ToJsonLines() const {
  std::string text;
  for (const EpochRecord& record : records_) absl::StrAppend(&text, ToJson(record).dump(), "\n");
  return text;
}

absl::StatusOr<TrainingLog> TrainingLog::FromJsonLines(std::string_view text) {
  TrainingLog log;
  int number = 0;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    ++number;
    try {
      log.Add(FromJson(Json::parse(line)));
    } catch (const Json::exception& e) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, " is no record of an epoch: ", e.what()));
    }
  }
  return log;
}

absl::StatusOr<std::string> TrainingLog::PlotLoss(const std::string& title) const {
  PlotLine loss, validation, best;
  loss.name = "loss";
  validation.name = "on images held out";
  best.name = "lowest so far";
  best.dashed = true;
  for (const EpochRecord& record : records_) {
    for (PlotLine* line : {&loss, &best}) line->x.push_back(record.epoch);
    loss.y.push_back(record.loss);
    best.y.push_back(record.best_loss);
    if (!record.validation_loss) continue;
    validation.x.push_back(record.epoch);
    validation.y.push_back(*record.validation_loss);
  }
  std::vector<PlotLine> lines = {best, loss};
  if (!validation.x.empty()) lines.push_back(validation);
  return DrawPlot(
      lines, {.title = title, .x_label = "epoch", .y_label = "mean squared error of the prediction", .log_y = true});
}

std::string FormatProgress(const TrainingProgress& progress, int columns) {
  const std::string epoch = absl::StrFormat("epoch %d/%d", progress.epoch, progress.epochs);
  const std::string percent = absl::StrFormat("%d%%", static_cast<int>(progress.epoch_fraction * 100));
  const std::string loss = absl::StrFormat("loss %.4f", progress.loss);
  const std::string speed = FormatSpeed(progress.images_per_second);
  const std::string left = FormatDuration(progress.seconds_left) + " left";
  std::vector<std::string> from_wide_to_narrow;
  for (const int width : {20, 16, 12, 8}) {
    const std::string bar = FormatBar(progress.epoch_fraction, width);
    from_wide_to_narrow.push_back(absl::StrCat(epoch, " ", absl::StrJoin({bar, loss, speed, left}, "  ")));
  }
  from_wide_to_narrow.push_back(absl::StrJoin({epoch, percent, loss, speed, left}, "  "));
  from_wide_to_narrow.push_back(absl::StrJoin({epoch, percent, loss, left}, "  "));
  from_wide_to_narrow.push_back(absl::StrJoin({epoch, percent, left}, "  "));
  for (const std::string& line : from_wide_to_narrow) {
    if (static_cast<int>(line.size()) <= columns) return line;
  }
  return from_wide_to_narrow.back();
}

std::string FormatProgressLine(const TrainingProgress& progress) {
  return absl::StrFormat("epoch %d/%d  %d%%  loss %.4f  %s  %s left", progress.epoch, progress.epochs,
                         static_cast<int>(progress.epoch_fraction * 100), progress.loss,
                         FormatSpeed(progress.images_per_second), FormatDuration(progress.seconds_left));
}

std::string FormatSpeed(double images_per_second) {
  return absl::StrFormat("%.*f images/s", images_per_second < 10 ? 1 : 0, images_per_second);
}

}  // namespace denoised
