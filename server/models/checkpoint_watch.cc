#include "server/models/checkpoint_watch.h"

#include <sys/stat.h>

#include <utility>

#include "absl/status/statusor.h"
#include "common/support/digest.h"
#include "common/support/file.h"

namespace denoised {
namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 30;  // more than any checkpoint has

}  // namespace

// The file as it is now is taken for the one that was loaded only after a look at its bytes: it may have been replaced
// in between.
CheckpointWatch::CheckpointWatch(std::string path, std::string sha256)
    : path_(std::move(path)), sha256_(std::move(sha256)) {}

bool CheckpointWatch::Replaced() {
  const std::optional<Look> look = LookAt();
  if (!look.has_value() || look == judged_) return false;
  if (std::exchange(last_, look) != look) return false;  // perhaps still being written
  judged_ = look;
  const absl::StatusOr<std::string> bytes =
      look->size > kMaxBytes ? absl::OutOfRangeError(path_) : ReadFile(path_, static_cast<uint64_t>(kMaxBytes));
  std::string sha256 = bytes.ok() ? Sha256Hex(*bytes) : "";
  return std::exchange(sha256_, sha256) != sha256 || !bytes.ok();
}

std::optional<CheckpointWatch::Look> CheckpointWatch::LookAt() const {
  struct stat status {};
  if (stat(path_.c_str(), &status) != 0) return std::nullopt;
  return Look{.device = status.st_dev,
              .inode = status.st_ino,
              .size = status.st_size,
              .modified_seconds = status.st_mtim.tv_sec,
              .modified_nanoseconds = status.st_mtim.tv_nsec};
}

}  // namespace denoised
