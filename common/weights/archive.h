// File: archive.h
//
// Reading a TorchScript archive as what it is besides: a ZIP file, whose records all lie in one folder and are not
// compressed. By libzip. Runs nothing that it reads.
//
//   DENOISED_ASSIGN_OR_RETURN(const Archive archive, Archive::Open(bytes));
//   absl::StatusOr<std::string> json = archive.Read("extra/denoised.json", 1 << 20);
//
// Not thread-safe.
#ifndef DENOISED_COMMON_WEIGHTS_ARCHIVE_H_
#define DENOISED_COMMON_WEIGHTS_ARCHIVE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

struct zip;

namespace denoised {

class Archive {
 public:
  // INVALID_ARGUMENT if it is none. `bytes` outlive the archive.
  static absl::StatusOr<Archive> Open(std::string_view bytes);

  // Whether there is a record of this name, as it is below the folder.
  bool Has(const std::string& record) const;

  // What all records have together when they are unpacked, whether Read would take them or not; the largest number
  // there is where that is more.
  uint64_t UnpackedBytes() const;

  // Its bytes. NOT_FOUND if there is none, INVALID_ARGUMENT if it is compressed or of more than max_bytes, DATA_LOSS if
  // they do not match their checksum.
  absl::StatusOr<std::string> Read(const std::string& record, size_t max_bytes) const;

 private:
  struct Close {
    void operator()(zip* archive) const;
  };
  Archive(std::unique_ptr<zip, Close> archive, std::string folder);

  std::unique_ptr<zip, Close> archive_;
  std::string folder_;
};

}  // namespace denoised

#endif  // DENOISED_COMMON_WEIGHTS_ARCHIVE_H_
