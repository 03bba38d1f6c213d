#include "trainer/training/run_folder.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <regex>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr uint64_t kMaxStateBytes = uint64_t{4} << 30;

// WriteFileAtomically's name for a file of such a run that is being written, as "state.pt.1234.0badcafe.tmp", or that
// of its trial: the process's number, or none for another name.
std::optional<pid_t> WriterOf(const std::string& name) {
  static const std::regex kTemporary(
      R"((?:(?:state|best|last)\.pt|log\.jsonl|steps\.jsonl|steps\.csv|events\.out\.tfevents\.denoise-train|loss\.png|samples\.png|)\.(\d+)(?:\.[0-9a-f]{8})?\.tmp)");
  std::smatch match;
  pid_t writer = 0;
  if (!std::regex_match(name, match, kTemporary) || !absl::SimpleAtoi(match[1].str(), &writer)) return std::nullopt;
  return writer;
}

// In a container the new process often has the number of the one that was killed.
bool IsGone(pid_t process) { return process == getpid() || (kill(process, 0) != 0 && errno == ESRCH); }

void RemoveHalfWrittenFiles(const std::string& folder) {
  std::error_code ignored;
  std::vector<std::filesystem::path> stale;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::optional<pid_t> writer = WriterOf(entry.path().filename());
    if (writer && IsGone(*writer)) stale.push_back(entry.path());
  }
  for (const std::filesystem::path& path : stale) std::filesystem::remove(path, ignored);
}

}  // namespace

absl::Status RunFolder::Prepare(bool resume) const {
  std::error_code ignored;
  for (const std::string& file : {files_.state, files_.best}) {
    if (resume || !std::filesystem::exists(file, ignored)) continue;
    return absl::AlreadyExistsError(
        absl::StrCat(file, " is there already: add --resume to go on with that run, or choose another --out"));
  }
  DENOISED_RETURN_IF_ERROR(EnsureWritableFolder(path_));
  RemoveHalfWrittenFiles(path_);
  return absl::OkStatus();
}

RunFolder::~RunFolder() {
  if (lock_ >= 0) close(lock_);
}

absl::Status RunFolder::Lock() {
  lock_ = open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0 || flock(lock_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("another denoise-train writes to ", path_, ": let it end, or choose another --out"));
}

bool RunFolder::HasSamples() const {
  std::error_code ignored;
  return std::filesystem::exists(files_.samples, ignored);
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
