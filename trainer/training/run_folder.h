// File: run_folder.h
//
// What a run leaves in its folder. Each file is replaced atomically.
//
//   const RunFolder folder("run");
//   absl::Status prepared = folder.Prepare(/*resume=*/false);
//   absl::Status written = folder.WriteCheckpoint(bytes, /*best=*/true);
//
// Those that write give the errors of WriteFileAtomically, RESOURCE_EXHAUSTED for a full disk among them. Thread-safe
// as far as the file system is.
#ifndef DENOISED_TRAINER_TRAINING_RUN_FOLDER_H_
#define DENOISED_TRAINER_TRAINING_RUN_FOLDER_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/training/training_log.h"

namespace denoised {

struct TrainingFiles {
  explicit TrainingFiles(const std::string& folder)
      : best(folder + "/best.pt"),
        last(folder + "/last.pt"),
        state(folder + "/state.pt"),
        log(folder + "/log.jsonl"),
        loss_plot(folder + "/loss.png"),
        samples(folder + "/samples.png") {}

  std::string best;       // the checkpoint with the lowest mean loss
  std::string last;       // the latest one, also from within an epoch
  std::string state;      // for --resume
  std::string log;        // a JSON object per epoch: training_log.h
  std::string loss_plot;  // of the log
  std::string samples;    // what the last checkpoint draws
};

class RunFolder {
 public:
  explicit RunFolder(const std::string& path) : path_(path), files_(path) {}
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const TrainingFiles& files() const { return files_; }

  // Makes the folder, and removes half-written files that a killed run left in it. ALREADY_EXISTS if it holds a run
  // that is not to be resumed; errors of EnsureWritableFolder.
  absl::Status Prepare(bool resume) const;

  // No other process has the folder from here on until this object is gone. FAILED_PRECONDITION if one has it. On a
  // file system that knows no locks it does nothing.
  absl::Status Lock();

  // Whether there is a picture of what a checkpoint draws.
  bool HasSamples() const;

  // last.pt, and best.pt where it is the best so far.
  absl::Status WriteCheckpoint(const std::string& bytes, bool best) const;

  absl::Status WriteState(const std::string& bytes) const;
  // NOT_FOUND, with advice, where it is not there or cannot be read.
  absl::StatusOr<std::string> ReadState() const;

  // log.jsonl, and loss.png where there is an epoch to show.
  absl::Status WriteLog(const TrainingLog& log) const;

  absl::Status WriteSamples(const std::string& png) const;

 private:
  const std::string path_;
  const TrainingFiles files_;
  int lock_ = -1;  // a descriptor of the folder
};

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_RUN_FOLDER_H_
