// File: checkpoint_watch.h
//
// Whether a checkpoint's file has been replaced.
//
//   CheckpointWatch watch("/models/mnist.pt", model.info().sha256);
//   if (watch.Replaced()) ...   // asked every few seconds
//
// A look costs one stat() until the file looks new: then it must look the same twice, so that a copy that is still
// being written is left alone, and its bytes must differ. Each content is told once, so that a file that cannot be
// loaded is not tried again and again.
//
// Not thread-safe.
#ifndef DENOISED_SERVER_MODELS_CHECKPOINT_WATCH_H_
#define DENOISED_SERVER_MODELS_CHECKPOINT_WATCH_H_

#include <cstdint>
#include <optional>
#include <string>

namespace denoised {

class CheckpointWatch {
 public:
  // `sha256`: of the content that is known already.
  CheckpointWatch(std::string path, std::string sha256);

  // True once for each new content, or what may be one: a file that cannot be read, or is larger than any checkpoint,
  // is told too, so that loading it says why it cannot be. A file that is missing is no content.
  bool Replaced();

  // This content was loaded by somebody else, and is known.
  void Know(std::string sha256) { sha256_ = std::move(sha256); }

 private:
  // What stat() tells, by which a replaced file differs.
  struct Look {
    uint64_t device = 0;
    uint64_t inode = 0;
    int64_t size = 0;
    int64_t modified_seconds = 0;
    int64_t modified_nanoseconds = 0;

    friend bool operator==(const Look&, const Look&) = default;
  };
  std::optional<Look> LookAt() const;

  const std::string path_;
  std::string sha256_;          // of the content told or known last
  std::optional<Look> judged_;  // whose bytes were read
  std::optional<Look> last_;    // of the time before
};

}  // namespace denoised

#endif  // DENOISED_SERVER_MODELS_CHECKPOINT_WATCH_H_
