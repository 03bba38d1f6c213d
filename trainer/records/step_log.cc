#include "trainer/records/step_log.h"

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"
#include "trainer/records/event_file.h"

namespace denoised {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxLogBytes = uint64_t{4} << 30;
constexpr std::string_view kJsonStart = "{\"step\":";
constexpr std::string_view kCsvHeader = "step,epoch,batch,loss,gradient_norm,learning_rate,images_per_second\n";

// Whole lines up to the first that begins with `start` and a step after `last_step`.
std::string_view LinesUpToStep(std::string_view text, std::string_view start, int64_t last_step) {
  size_t whole = 0;
  for (size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n', whole)) {
    std::string_view line = text.substr(whole, end - whole);
    if (line.starts_with(start)) line.remove_prefix(start.size());
    int64_t step = 0;  // stays where there is none, as in a header
    std::from_chars(line.data(), line.data() + line.size(), step);
    if (step > last_step) break;
    whole = end + 1;
  }
  return text.substr(0, whole);
}

absl::StatusOr<std::string> ReadIfThere(const std::string& path) {
  absl::StatusOr<std::string> bytes = ReadFile(path, kMaxLogBytes);
  return absl::IsNotFound(bytes.status()) ? std::string() : bytes;
}

// Empties `bytes`.
absl::Status Append(const std::string& path, std::string& bytes) {
  std::FILE* file = std::fopen(path.c_str(), "ab");
  bool written = file != nullptr && std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  int error = errno;
  if (file != nullptr && std::fclose(file) != 0) {
    if (written) error = errno;
    written = false;
  }
  bytes.clear();
  return written ? absl::OkStatus() : absl::ErrnoToStatus(error, absl::StrCat("cannot write ", path));
}

}  // namespace

absl::StatusOr<StepLog> StepLog::Open(const std::string& folder, int64_t last_step, double wall_time) {
  const StepLogFiles files(folder);
  DENOISED_ASSIGN_OR_RETURN(const std::string json, ReadIfThere(files.json));
  DENOISED_ASSIGN_OR_RETURN(const std::string csv, ReadIfThere(files.csv));
  DENOISED_ASSIGN_OR_RETURN(const std::string events, ReadIfThere(files.events));
  DENOISED_RETURN_IF_ERROR(WriteFileAtomically(files.json, LinesUpToStep(json, kJsonStart, last_step)));
  const std::string_view kept_csv = LinesUpToStep(csv, "", last_step);
  DENOISED_RETURN_IF_ERROR(WriteFileAtomically(files.csv, kept_csv.empty() ? kCsvHeader : kept_csv));
  const std::string kept_events = events.substr(0, BytesUpToStep(events, last_step));
  DENOISED_RETURN_IF_ERROR(
      WriteFileAtomically(files.events, kept_events.empty() ? FirstEvent(wall_time) : kept_events));
  return StepLog(folder);
}

void StepLog::Add(const StepRecord& record) {
  const Json json = {{"step", record.step},
                     {"epoch", record.epoch},
                     {"batch", record.batch},
                     {"loss", record.loss},
                     {"gradient_norm", record.gradient_norm},
                     {"learning_rate", record.learning_rate},
                     {"images_per_second", record.images_per_second}};
  absl::StrAppend(&json_, json.dump(), "\n");
  for (const auto& [name, value] : json.items()) absl::StrAppend(&csv_, name == "step" ? "" : ",", value.dump());
  csv_ += "\n";
  events_ += ScalarEvent({.wall_time = record.wall_time,
                          .step = record.step,
                          .scalars = {{"loss", static_cast<float>(record.loss)},
                                      {"gradient_norm", static_cast<float>(record.gradient_norm)},
                                      {"learning_rate", static_cast<float>(record.learning_rate)},
                                      {"images_per_second", static_cast<float>(record.images_per_second)}}});
}

absl::Status StepLog::Flush() {
  DENOISED_RETURN_IF_ERROR(Append(files_.json, json_));
  DENOISED_RETURN_IF_ERROR(Append(files_.csv, csv_));
  return Append(files_.events, events_);
}

}  // namespace denoised
