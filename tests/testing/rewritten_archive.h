// File: rewritten_archive.h
//
// LibTorch's archives with other records.
#ifndef DENOISED_TESTS_TESTING_REWRITTEN_ARCHIVE_H_
#define DENOISED_TESTS_TESTING_REWRITTEN_ARCHIVE_H_

#include <caffe2/serialize/inline_container.h>

#include <functional>
#include <sstream>
#include <string>

namespace denoised {

// The archive written anew, record by record, after `change` has seen each.
inline std::string Rewritten(const std::string& archive,
                             const std::function<void(const std::string& name, std::string& data)>& change,
                             bool compress = false) {
  std::istringstream in(archive);
  caffe2::serialize::PyTorchStreamReader reader(&in);
  std::string out;
  caffe2::serialize::PyTorchStreamWriter writer([&out](const void* data, size_t size) {
    out.append(static_cast<const char*>(data), size);
    return size;
  });
  for (const std::string& name : reader.getAllRecords()) {
    if (name == "version" || name == ".data/version") continue;  // the writer's own
    const auto [data, size] = reader.getRecord(name);
    std::string record(static_cast<const char*>(data.get()), size);
    change(name, record);
    writer.writeRecord(name, record.data(), record.size(), compress);
  }
  writer.writeEndOfFile();
  return out;
}

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_REWRITTEN_ARCHIVE_H_
