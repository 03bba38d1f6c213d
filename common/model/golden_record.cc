#include "common/model/golden_record.h"

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/image/image.h"
#include "common/model/checked_json.h"
#include "common/support/digest.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

// Numbers of float's own precision, so that pixels are written in as few digits as give them back.
using Json = nlohmann::basic_json<nlohmann::ordered_map, std::vector, std::string, bool, int64_t, uint64_t,
                                  /*NumberFloat=*/float>;

constexpr char kWhatToDo[] =
    "copy the checkpoint again, or let this machine draw anew with denoise-train --add_golden_draw FILE";

Json RowToJson(const GoldenRow& row) {
  return {{"sampler", SamplerName(row.sampler)},
          {"steps", row.plan.size()},
          {"label", row.label},
          {"guidance_scale", row.guidance_scale},
          {"seed", row.seed}};
}

// Of all pixels in order, as little-endian float32.
std::string PixelsSha256(const GoldenImages& images) {
  std::string bytes;
  for (const std::vector<float>& image : images) {
    bytes.append(reinterpret_cast<const char*>(image.data()), image.size() * sizeof(float));
  }
  return Sha256Hex(bytes);
}

absl::Status NotExpected(const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("golden_draw.json in the checkpoint is not what this build expects (",
                                                 Shortened(why), "); it is damaged: ", kWhatToDo));
}

absl::Status CheckRows(const std::vector<GoldenRow>& rows, const Json& json) {
  bool same = json.size() == rows.size();
  for (size_t i = 0; same && i < rows.size(); ++i) {
    Json row = json.at(i);
    row.erase("pixels");
    same = row == RowToJson(rows[i]);
  }
  if (same) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("golden_draw.json in the checkpoint is of other images than this build draws; use the denoised that "
                   "belongs to it, or ",
                   kWhatToDo));
}

// Throws for a missing key or a wrong type, as the library does.
std::vector<float> PixelsFromJson(const Json& json) {
  std::vector<float> pixels;
  for (const Json& pixel : json) {
    if (!pixel.is_number()) throw std::invalid_argument(absl::StrCat("the pixel ", pixel.dump(), " is no number"));
    pixels.push_back(pixel.get<float>());
  }
  if (pixels.size() != kModelPixels) {
    throw std::invalid_argument(absl::StrCat("an image has ", pixels.size(), " pixels, expected ", kModelPixels));
  }
  return pixels;
}

absl::StatusOr<GoldenRecord> FromJson(const std::vector<GoldenRow>& rows, const Json& json) {
  const int version = Integer<int>(json.at("format_version"));
  if (version != kGoldenRecordVersion) {
    return absl::FailedPreconditionError(absl::StrCat("golden_draw.json in the checkpoint has format version ", version,
                                                      ", this build reads version ", kGoldenRecordVersion,
                                                      "; use the denoised that belongs to it, or ", kWhatToDo));
  }
  DENOISED_RETURN_IF_ERROR(CheckRows(rows, json.at("rows")));
  GoldenRecord record{.drawn_by = Shortened(json.at("drawn_by")), .images = {}};
  for (const Json& row : json.at("rows")) record.images.push_back(PixelsFromJson(row.at("pixels")));
  if (PixelsSha256(record.images) != json.at("pixels_sha256").get<std::string>()) {
    return absl::DataLossError(absl::StrCat(
        "the pixels in golden_draw.json in the checkpoint do not match their SHA-256; the file is damaged: ",
        kWhatToDo));
  }
  return record;
}

}  // namespace

std::vector<GoldenRow> GoldenRowsOf(const ModelMetadata& metadata) {
  return GoldenRows(*NoiseSchedule::Create(metadata.noise_schedule),
                    {.classes = static_cast<int>(metadata.class_names.size()),
                     .null_label = metadata.null_label,
                     .variance_type = metadata.variance_type,
                     .clip_sample = metadata.clip_sample});
}

std::string SerializeGoldenRecord(const std::vector<GoldenRow>& rows, const GoldenRecord& record) {
  Json json = {{"format_version", kGoldenRecordVersion},
               {"drawn_by", record.drawn_by},
               {"pixels_sha256", PixelsSha256(record.images)},
               {"rows", Json::array()}};
  for (size_t i = 0; i < rows.size(); ++i) {
    Json row = RowToJson(rows[i]);
    row["pixels"] = record.images[i];
    json["rows"].push_back(std::move(row));
  }
  return json.dump() + "\n";
}

absl::StatusOr<GoldenRecord> ParseGoldenRecord(const std::vector<GoldenRow>& rows, std::string_view json) {
  try {
    const absl::StatusOr<Json> parsed = ParseFlatJson<Json>(json, kMaxGoldenRecordBytes);
    if (!parsed.ok()) return NotExpected(std::string(parsed.status().message()));
    return FromJson(rows, *parsed);
  } catch (const std::exception& e) {
    return NotExpected(e.what());
  }
}

// Three to five times what the shipped checkpoint's engines are off: 0.028 in bf16, 0.006 in fp16; in fp32 it is 4e-6,
// but other libraries sum in another order. A lost channel of one convolution is 0.27.
float LargestRms(Precision precision) {
  switch (precision) {
    case Precision::kBf16:
      return 0.1f;
    case Precision::kFp16:
      return 0.03f;
    default:
      return 0.002f;
  }
}

}  // namespace denoised
