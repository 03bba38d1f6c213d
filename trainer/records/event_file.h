// File: event_file.h
//
// Event files, as TensorBoard reads them: TFRecords (length, its checksum, data, their checksum) of the protocol buffer
// tensorflow.Event, of which scalars need few fields. They are encoded here: LibTorch's headers bring another version
// of Protobuf.
//
//   std::string file = FirstEvent(now);
//   file += ScalarEvent({.wall_time = now, .step = 7, .scalars = {{"loss", 0.25f}}});
//
// TFRecord: https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details". Event and Summary:
// tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto. Pure and thread-safe.
#ifndef DENOISED_TRAINER_RECORDS_EVENT_FILE_H_
#define DENOISED_TRAINER_RECORDS_EVENT_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace denoised {

struct Event {
  double wall_time = 0;  // seconds since 1970
  int64_t step = 0;
  std::vector<std::pair<std::string, float>> scalars;  // name, value
};

// The record that every file begins with.
std::string FirstEvent(double wall_time);

std::string ScalarEvent(const Event& event);

// How many of the file's bytes are whole records of steps up to `last_step`, in the order in which they were written;
// one that is cut off or damaged, and all behind it, do not count.
size_t BytesUpToStep(std::string_view file, int64_t last_step);

}  // namespace denoised

#endif  // DENOISED_TRAINER_RECORDS_EVENT_FILE_H_
