#include "trainer/data/mnist.h"

#include <zlib.h>

#include <algorithm>
#include <filesystem>
#include <string_view>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/image/image.h"
#include "common/support/digest.h"
#include "common/support/file.h"
#include "common/support/status_macros.h"
#include "trainer/data/model_pixels.h"

namespace denoised {
namespace {

constexpr uint32_t kImagesMagic = 0x00000803;  // unsigned bytes, three dimensions
constexpr uint32_t kLabelsMagic = 0x00000801;  // unsigned bytes, one dimension
constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;

// MNIST's own files, unpacked.
constexpr std::pair<const char*, const char*> kMnistSha256[] = {
    {"train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"},
    {"train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"},
    {"t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"},
    {"t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"},
};

constexpr char kFetchAgain[] = "fetch it again";

absl::StatusOr<std::string> Gunzip(const std::string& path, const std::string& packed) {
  z_stream stream{};
  constexpr int kGzipOnly = 16 + MAX_WBITS;
  if (inflateInit2(&stream, kGzipOnly) != Z_OK) return absl::InternalError("cannot start zlib");
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string bytes;
  char buffer[1 << 16];
  int result = Z_OK;
  while (result == Z_OK && bytes.size() <= kMaxFileBytes) {
    stream.next_out = reinterpret_cast<Bytef*>(buffer);
    stream.avail_out = sizeof buffer;
    result = inflate(&stream, Z_NO_FLUSH);
    bytes.append(buffer, sizeof buffer - stream.avail_out);
    // Files that were packed in parts have several members.
    if (result == Z_STREAM_END && stream.avail_in > 0 && *stream.next_in == 0x1f) result = inflateReset(&stream);
  }
  const std::string reason = stream.msg != nullptr ? stream.msg : "it ends too early";
  inflateEnd(&stream);
  if (bytes.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " unpacks to more than ", kMaxFileBytes >> 30, " GiB, and no more is read"));
  }
  if (result == Z_STREAM_END) return bytes;
  return absl::DataLossError(absl::StrCat(path, " is not a whole gzip file: ", reason, "; ", kFetchAgain));
}

// A data file's unpacked bytes and where they came from.
struct IdxFile {
  std::string path;
  std::string bytes;
  std::string sha256;
};

absl::Status VerifyChecksum(const std::string& name, const IdxFile& file) {
  const auto* expected =
      std::find_if(std::begin(kMnistSha256), std::end(kMnistSha256), [&](const auto& e) { return e.first == name; });
  if (expected->second == file.sha256) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(file.path, " is not MNIST's file: the SHA-256 of its unpacked bytes is ",
                                          file.sha256, ", expected ", expected->second, "; ", kFetchAgain,
                                          ", or use --noverify_data to train on another data set"));
}

// Names may lie: browsers unpack what they load and keep its .gz. Every IDX file begins with two zeros.
bool IsPacked(const std::string& path, std::string_view bytes) {
  const bool gzip = bytes.starts_with("\x1f\x8b"), idx = bytes.starts_with(std::string_view("\0\0", 2));
  return gzip || (path.ends_with(".gz") && !idx);
}

// `name` with a dash before "idx"; some mirrors and unpackers have a dot there.
absl::StatusOr<IdxFile> ReadIdxFile(const std::string& folder, const std::string& name) {
  if (std::error_code error; !std::filesystem::exists(folder, error) && !error) {
    return absl::NotFoundError(absl::StrCat("there is no folder ", folder,
                                            "; scripts/download_mnist.sh fetches MNIST, --data names its folder"));
  }
  std::string dotted = name;
  dotted[dotted.find("-idx")] = '.';
  for (const std::string& file : {name, name + ".gz", dotted, dotted + ".gz"}) {
    const std::string path = absl::StrCat(folder, "/", file);
    if (std::error_code error; !std::filesystem::exists(path, error) && !error) continue;
    DENOISED_ASSIGN_OR_RETURN(std::string bytes, ReadFile(path, kMaxFileBytes));
    if (IsPacked(path, bytes)) {
      DENOISED_ASSIGN_OR_RETURN(bytes, Gunzip(path, bytes));
    }
    std::string sha256 = Sha256Hex(bytes);
    return IdxFile{.path = path, .bytes = std::move(bytes), .sha256 = std::move(sha256)};
  }
  return absl::NotFoundError(
      absl::StrCat("neither ", name, " nor ", dotted, " is in ", folder,
                   ", gzipped (.gz) or not; scripts/download_mnist.sh fetches MNIST, --data names "
                   "its folder"));
}

uint32_t BigEndian(std::string_view bytes, size_t offset) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[offset + i]);
  return value;
}

// Checks the header and returns the dimensions, the count first.
absl::StatusOr<std::vector<uint32_t>> ReadHeader(const IdxFile& file, uint32_t magic, size_t rank) {
  const size_t header_bytes = 4 + 4 * rank;
  if (file.bytes.size() < header_bytes) {
    return absl::DataLossError(
        absl::StrCat(file.path, " holds ", file.bytes.size(), " bytes, less than an IDX header; ", kFetchAgain));
  }
  if (BigEndian(file.bytes, 0) != magic) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s is not the right kind of IDX file: its magic number is 0x%08x, expected 0x%08x", file.path,
                        BigEndian(file.bytes, 0), magic));
  }
  std::vector<uint32_t> dimensions(rank);
  absl::uint128 elements = 1;
  for (size_t i = 0; i < rank; ++i) elements *= dimensions[i] = BigEndian(file.bytes, 4 + 4 * i);
  const absl::uint128 expected = elements + header_bytes;
  if (file.bytes.size() != expected) {
    return absl::DataLossError(absl::StrCat(file.path, " is truncated or has extra bytes: ", file.bytes.size(),
                                            " bytes, its header promises ", absl::Uint128Low64(expected), "; ",
                                            kFetchAgain));
  }
  return dimensions;
}

// `count` images of size x size pixels.
absl::StatusOr<std::vector<uint8_t>> ResizeAll(std::string_view source, size_t count, int size) {
  std::vector<uint8_t> pixels;
  pixels.reserve(count * kModelPixels);
  GreyImage image{.width = size, .height = size, .pixels = {}};
  const size_t source_pixels = static_cast<size_t>(size) * size;
  for (size_t i = 0; i < count; ++i) {
    const std::string_view one = source.substr(i * source_pixels, source_pixels);
    image.pixels.assign(one.begin(), one.end());
    DENOISED_RETURN_IF_ERROR(AppendModelPixels(image, pixels));
  }
  return pixels;
}

}  // namespace

absl::StatusOr<Dataset> LoadMnist(const std::string& folder, Split split, const MnistOptions& options) {
  const std::string prefix = split == Split::kTrain ? "train" : split == Split::kTest ? "t10k" : "samples";
  const std::string images_name = prefix + "-images-idx3-ubyte";
  const std::string labels_name = prefix + "-labels-idx1-ubyte";
  DENOISED_ASSIGN_OR_RETURN(const IdxFile images, ReadIdxFile(folder, images_name));
  DENOISED_ASSIGN_OR_RETURN(const IdxFile labels, ReadIdxFile(folder, labels_name));
  DENOISED_ASSIGN_OR_RETURN(const std::vector<uint32_t> shape, ReadHeader(images, kImagesMagic, 3));
  DENOISED_ASSIGN_OR_RETURN(const std::vector<uint32_t> count, ReadHeader(labels, kLabelsMagic, 1));
  if (options.verify_checksums && split != Split::kDrawn) {
    DENOISED_RETURN_IF_ERROR(VerifyChecksum(images_name, images));
    DENOISED_RETURN_IF_ERROR(VerifyChecksum(labels_name, labels));
  }
  DENOISED_RETURN_IF_ERROR(CheckImageSize(images.path, shape[1], shape[2]));
  if (shape[0] != count[0] || shape[0] == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(images.path, " holds ", shape[0], " images, but ", labels.path, " holds ", count[0], " labels"));
  }
  Dataset data;
  data.labels.assign(labels.bytes.begin() + 8, labels.bytes.end());
  const auto highest = std::max_element(data.labels.begin(), data.labels.end());
  data.class_names = options.class_names.empty() ? NumbersAsNames(*highest + 1u) : options.class_names;
  const size_t classes = data.class_names.size();
  const auto bad =
      std::find_if(data.labels.begin(), data.labels.end(), [=](uint8_t label) { return label >= classes; });
  if (bad != data.labels.end()) {
    return absl::InvalidArgumentError(absl::StrCat(labels.path, ": label ", bad - data.labels.begin(), " is ",
                                                   static_cast<int>(*bad), ", expected 0 to ", classes - 1));
  }
  DENOISED_ASSIGN_OR_RETURN(data.pixels,
                            ResizeAll(std::string_view(images.bytes).substr(16), shape[0], static_cast<int>(shape[1])));
  data.sha256 = {{images_name, images.sha256}, {labels_name, labels.sha256}};
  return data;
}

}  // namespace denoised
