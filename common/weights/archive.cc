#include "common/weights/archive.h"

#include <zip.h>

#include <limits>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace denoised {

void Archive::Close::operator()(zip* archive) const { zip_discard(archive); }

Archive::Archive(std::unique_ptr<zip, Close> archive, std::string folder)
    : archive_(std::move(archive)), folder_(std::move(folder)) {}

absl::StatusOr<Archive> Archive::Open(std::string_view bytes) {
  if (bytes.empty()) return absl::InvalidArgumentError("not an archive: no bytes");  // to libzip it is an empty one
  zip_error_t error;
  zip_error_init(&error);
  const absl::Cleanup free_error = [&error] { zip_error_fini(&error); };
  zip_source_t* const source = zip_source_buffer_create(bytes.data(), bytes.size(), /*freep=*/0, &error);
  std::unique_ptr<zip, Close> archive(source == nullptr ? nullptr : zip_open_from_source(source, ZIP_RDONLY, &error));
  if (archive == nullptr) {
    if (source != nullptr) zip_source_free(source);
    return absl::InvalidArgumentError(absl::StrCat("not an archive: ", zip_error_strerror(&error)));
  }
  const char* const first = zip_get_name(archive.get(), 0, 0);
  const std::string_view name = first == nullptr ? "" : first;
  std::string folder(name.substr(0, name.find('/') + 1));
  return Archive(std::move(archive), std::move(folder));
}

bool Archive::Has(const std::string& record) const {
  return zip_name_locate(archive_.get(), (folder_ + record).c_str(), 0) >= 0;
}

uint64_t Archive::UnpackedBytes() const {
  constexpr auto kMost = std::numeric_limits<uint64_t>::max();
  uint64_t bytes = 0;
  const zip_int64_t records = zip_get_num_entries(archive_.get(), 0);
  for (zip_int64_t i = 0; i < records; ++i) {
    zip_stat_t stat;
    const bool known = zip_stat_index(archive_.get(), i, 0, &stat) == 0 && (stat.valid & ZIP_STAT_SIZE) != 0;
    if (!known || stat.size > kMost - bytes) return kMost;
    bytes += stat.size;
  }
  return bytes;
}

absl::StatusOr<std::string> Archive::Read(const std::string& record, size_t max_bytes) const {
  zip_stat_t stat;
  if (zip_stat(archive_.get(), (folder_ + record).c_str(), 0, &stat) != 0) {
    return absl::NotFoundError(absl::StrCat("the archive has no ", record));
  }
  constexpr zip_uint64_t kWanted = ZIP_STAT_INDEX | ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD;
  if ((stat.valid & kWanted) != kWanted || stat.comp_method != ZIP_CM_STORE) {
    return absl::InvalidArgumentError(absl::StrCat(record, " in the archive is compressed, which it must not be"));
  }
  if (stat.size > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(record, " in the archive has ", stat.size, " bytes, more than ", max_bytes));
  }
  const absl::Status damaged = absl::DataLossError(absl::StrCat(record, " in the archive is damaged"));
  const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(zip_fopen_index(archive_.get(), stat.index, 0),
                                                               zip_fclose);
  if (file == nullptr) return damaged;
  std::string bytes(stat.size, '\0');
  char end;  // only who asks for more than there is makes libzip compare the checksum
  if (zip_fread(file.get(), bytes.data(), bytes.size()) != static_cast<zip_int64_t>(bytes.size()) ||
      zip_fread(file.get(), &end, 1) != 0) {
    return damaged;
  }
  return bytes;
}

}  // namespace denoised
