// File: golden_record.h
//
// The file golden_draw.json inside a checkpoint: the golden rows (../diffusion/golden_draw.h) as whoever wrote the
// checkpoint drew them with its network, so that whoever reads it can tell whether its own machine and libraries draw
// the same.
//
//   const std::vector<GoldenRow> rows = GoldenRowsOf(metadata);
//   std::string json = SerializeGoldenRecord(rows, {.drawn_by = "LibTorch 2.6.0", .images = images});
//   absl::StatusOr<GoldenRecord> record = ParseGoldenRecord(rows, json);
//
// The file says of each row its sampler, steps, label, guidance scale and seed, then its pixels, so that an
// implementation in another language can be checked against it too.
//
// Pure and thread-safe.
#ifndef DENOISED_COMMON_MODEL_GOLDEN_RECORD_H_
#define DENOISED_COMMON_MODEL_GOLDEN_RECORD_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/diffusion/golden_draw.h"
#include "common/model/model_metadata.h"
#include "common/model/precision.h"

namespace denoised {

// The only format this build writes and reads. Another one goes with other golden rows, too.
inline constexpr int kGoldenRecordVersion = 1;

// About 30 kB are written.
inline constexpr size_t kMaxGoldenRecordBytes = 256 << 10;

struct GoldenRecord {
  std::string drawn_by;  // what ran the network, for people to read
  GoldenImages images;   // one for each row, in their order

  friend bool operator==(const GoldenRecord&, const GoldenRecord&) = default;
};

// The golden rows for a model's schedule and labels. The metadata are valid: ParseModelMetadata.
std::vector<GoldenRow> GoldenRowsOf(const ModelMetadata& metadata);

// JSON: the same images give the same bytes. The images are finite, one for each row.
std::string SerializeGoldenRecord(const std::vector<GoldenRow>& rows, const GoldenRecord& record);

// The inverse. Messages say what was found and what to do, in at most 1 kB:
//   FAILED_PRECONDITION  another format version, or other rows
//   INVALID_ARGUMENT     not JSON, a missing or malformed field, or more than kMaxGoldenRecordBytes
//   DATA_LOSS            pixels that do not match their SHA-256
absl::StatusOr<GoldenRecord> ParseGoldenRecord(const std::vector<GoldenRow>& rows, std::string_view json);

// How far, as a root mean square of an image's pixels in [-1, 1], an engine of this precision, kAuto being kFp32, may
// be from the reference.
float LargestRms(Precision precision);

}  // namespace denoised

#endif  // DENOISED_COMMON_MODEL_GOLDEN_RECORD_H_
