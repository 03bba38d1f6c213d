#include "trainer/training/run_folder.h"

#include <cstdint>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr uint64_t kMaxStateBytes = uint64_t{4} << 30;

}  // namespace

absl::Status RunFolder::Prepare(bool resume) const {
  std::error_code ignored;
  for (const std::string& file : {files_.state, files_.best}) {
    if (resume || !std::filesystem::exists(file, ignored)) continue;
    return absl::AlreadyExistsError(
        absl::StrCat(file, " is there already: add --resume to go on with that run, or choose another --out"));
  }
  return EnsureWritableFolder(path_);
}

absl::Status RunFolder::WriteCheckpoint(const std::string& bytes, bool best) const {
  DENOISED_RETURN_IF_ERROR(WriteFileAtomically(files_.last, bytes));
  return best ? WriteFileAtomically(files_.best, bytes) : absl::OkStatus();
}

absl::Status RunFolder::WriteState(const std::string& bytes) const { return WriteFileAtomically(files_.state, bytes); }

absl::StatusOr<std::string> RunFolder::ReadState() const {
  absl::StatusOr<std::string> bytes = ReadFile(files_.state, kMaxStateBytes);
  if (bytes.ok() && !bytes->empty()) return bytes;
  return absl::NotFoundError(absl::StrCat("nothing to resume: ", files_.state,
                                          " is not there or cannot be read; leave out --resume to begin a run"));
}

absl::Status RunFolder::WriteLog(const TrainingLog& log) const {
  DENOISED_RETURN_IF_ERROR(WriteFileAtomically(files_.log, log.ToJsonLines()));
  if (log.records().empty()) return absl::OkStatus();
  DENOISED_ASSIGN_OR_RETURN(const std::string png, log.PlotLoss(absl::StrCat("Training: ", path_)));
  return WriteFileAtomically(files_.loss_plot, png);
}

absl::Status RunFolder::WriteSamples(const std::string& png) const { return WriteFileAtomically(files_.samples, png); }

}  // namespace denoised
