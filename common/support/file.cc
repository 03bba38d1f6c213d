#include "common/support/file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>
#include <system_error>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

absl::Status ErrnoStatus(int error, const std::string& what) {
  const std::string message = absl::StrCat(what, ": ", std::strerror(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::UnavailableError(message);
  }
}

// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  const int fd_;
};

absl::Status WriteAll(int file, std::string_view bytes, const std::string& failure) {
  while (!bytes.empty()) {
    const ssize_t written = write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {  // as of a pipe that others have set so
      pollfd writable{.fd = file, .events = POLLOUT, .revents = 0};
      poll(&writable, 1, /*timeout=*/-1);
      continue;
    }
    if (written < 0) return ErrnoStatus(errno, failure);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

// Of another process none has the same, though both may have one number, in containers of their own.
std::string TemporaryName(const std::string& path) {
  return absl::StrCat(path, ".", getpid(), ".", absl::Hex(std::random_device{}(), absl::kZeroPad8), ".tmp");
}

// `failure` says what failed in the user's words: the file itself has a temporary name. Who may read it is as of `old`,
// if there is that.
absl::Status WriteNewFile(const std::string& path, std::string_view bytes, const std::string& failure,
                          const std::string& old = "") {
  const Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (file.get() < 0) return ErrnoStatus(errno, failure);
  struct stat info {};
  if (!old.empty() && stat(old.c_str(), &info) == 0 && fchmod(file.get(), info.st_mode & 0777) != 0) {
    return ErrnoStatus(errno, failure);
  }
  DENOISED_RETURN_IF_ERROR(WriteAll(file.get(), bytes, failure));
  return fsync(file.get()) == 0 ? absl::OkStatus() : ErrnoStatus(errno, failure);
}

// So that a new name in it outlives a power cut. Some folders may be written and not read, and some file systems have
// no such thing: what is written is there all the same.
void FlushFolder(const std::string& path) {
  const Descriptor folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() >= 0) fsync(folder.get());
}

std::string FolderOf(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

// A device or a pipe, which has no old bytes to keep, nor a disk to wait for.
absl::Status WriteThrough(const std::string& path, std::string_view bytes, const std::string& failure) {
  const Descriptor file(open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
  if (file.get() < 0) return ErrnoStatus(errno, failure);
  return WriteAll(file.get(), bytes, failure);
}

// The file that a chain of symbolic links names, whether it exists or not.
std::string TargetOf(const std::string& path) {
  constexpr int kMostLinks = 40;  // the system's own limit
  std::filesystem::path target = path;
  for (int i = 0; i < kMostLinks; ++i) {
    std::error_code none;
    const std::filesystem::path next = std::filesystem::read_symlink(target, none);
    if (none) break;
    target = next.is_absolute() ? next : target.parent_path() / next;
  }
  return target.string();
}

absl::Status MakeWritableFolder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("cannot create the folder ", path));
  const std::string probe = TemporaryName(absl::StrCat(path, "/"));
  const absl::Cleanup remove_probe = [&probe] { unlink(probe.c_str()); };
  return WriteNewFile(probe, "", absl::StrCat("cannot write to the folder ", path));
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return ErrnoStatus(errno, absl::StrCat("cannot open ", path));
  struct stat info {};
  if (fstat(file.get(), &info) != 0) return ErrnoStatus(errno, absl::StrCat("cannot read ", path));
  if (S_ISDIR(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, " is a folder, not a file"));
  std::string bytes;
  char buffer[1 << 16];
  while (true) {
    const ssize_t count = read(file.get(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus(errno, absl::StrCat("cannot read ", path));
    if (count == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(count));
    if (bytes.size() > max_bytes) {
      return absl::InvalidArgumentError(absl::StrCat(path, " is larger than the limit of ", max_bytes, " bytes"));
    }
  }
}

absl::Status WriteFileAtomically(const std::string& name, std::string_view bytes) {
  const std::string failure = absl::StrCat("cannot write ", name);
  std::error_code error;
  if (IsSpecialFile(name)) return WriteThrough(name, bytes, failure);
  if (std::filesystem::is_directory(name, error)) return absl::InvalidArgumentError(failure + ": it is a folder");
  const std::string path = TargetOf(name);
  const std::string temporary = TemporaryName(path);
  absl::Cleanup remove_temporary = [&temporary] { unlink(temporary.c_str()); };
  DENOISED_RETURN_IF_ERROR(WriteNewFile(temporary, bytes, failure, /*old=*/path));
  if (rename(temporary.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, failure);
  std::move(remove_temporary).Cancel();
  FlushFolder(FolderOf(path));
  return absl::OkStatus();
}

absl::Status WriteToStdout(std::string_view bytes) {
  return WriteAll(STDOUT_FILENO, bytes, "cannot write to standard output");
}

bool IsSpecialFile(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_other(path, error);
}

absl::Status EnsureWritableFile(const std::string& path, const std::string& flag) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot write ", path, ": it is a folder; choose another with ", flag));
  }
  if (!IsSpecialFile(path)) return EnsureWritableFolder(FolderOf(TargetOf(path)), flag);
  if (access(path.c_str(), W_OK) == 0) return absl::OkStatus();
  const absl::Status status = ErrnoStatus(errno, absl::StrCat("cannot write ", path));
  return absl::Status(status.code(), absl::StrCat(status.message(), "; choose another with ", flag));
}

absl::Status EnsureWritableFolder(const std::string& path, const std::string& flag) {
  const absl::Status status = MakeWritableFolder(path);
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(status.message(), "; choose another with ", flag));
}

absl::StatusOr<std::string> FindShipped(const std::string& name) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path bin = fs::read_symlink("/proc/self/exe", error).parent_path();
  std::vector<std::string> places;
  for (const fs::path& folder : {bin / "../share/denoised", bin / "../../../models", fs::path("models")}) {
    places.push_back((folder / name).lexically_normal().string());
    if (fs::exists(places.back(), error)) return places.back();
  }
  return absl::NotFoundError(absl::StrCat("there is no ", absl::StrJoin(places, " and no ")));
}

}  // namespace denoised
