#include "common/image/png.h"

#include <png.h>
#include <zlib.h>

#include <csetjmp>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace denoised {
namespace {

constexpr uint64_t kMaxPixels = uint64_t{64} << 20;

void Append(png_structp png, png_bytep bytes, size_t count) {
  static_cast<std::string*>(png_get_io_ptr(png))->append(reinterpret_cast<const char*>(bytes), count);
}
void FlushNothing(png_structp) {}

// The text is kept for whoever called setjmp.
[[noreturn]] void Fail(png_structp png, png_const_charp why) {
  *static_cast<const char**>(png_get_error_ptr(png)) = why;
  png_longjmp(png, 1);
}
void IgnoreWarning(png_structp, png_const_charp) {}

// Filter and strategy are what digits compress by in the least time: runs of pixels that differ from the one before by
// the same. False for an error, with libpng's text in `why`. NOTE: libpng leaves by longjmp, so nothing here has a
// destructor.
bool Write(const GreyImage& image, png_structp png, png_infop info, std::string* bytes, const char** why) {
  png_set_error_fn(png, why, Fail, IgnoreWarning);
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_write_fn(png, bytes, Append, FlushNothing);
  png_set_IHDR(png, info, static_cast<png_uint_32>(image.width), static_cast<png_uint_32>(image.height), 8,
               PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_SUB);
  png_set_compression_level(png, Z_BEST_SPEED);
  png_set_compression_strategy(png, Z_RLE);
  png_write_info(png, info);
  for (int y = 0; y < image.height; ++y) {
    png_write_row(png, image.pixels.data() + static_cast<size_t>(y) * static_cast<size_t>(image.width));
  }
  png_write_end(png, info);
  return true;
}

}  // namespace

// A byte of each row names its filter. What does not get smaller, zlib stores; its own bound (deflateBound) is a
// twentieth more at most, and chunks add 12 bytes to each 8 KiB.
int64_t LargestPngBytes(int64_t width, int64_t height) {
  constexpr int64_t kHeaders = 1024;
  const int64_t raw = (width + 1) * height;
  return raw + raw / 16 + kHeaders;
}

absl::StatusOr<std::string> EncodePng(const GreyImage& image) {
  const auto pixels = static_cast<int64_t>(image.pixels.size());
  if (image.width < 1 || image.height < 1 || int64_t{image.width} * image.height != pixels) {
    return absl::InvalidArgumentError(absl::StrCat("cannot encode an image of ", image.width, "x", image.height,
                                                   " pixels that has ", pixels, " of them as PNG"));
  }
  std::string bytes;
  bytes.reserve(1024 + image.pixels.size() / 4);
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
  const char* why = "out of memory";
  absl::Status status;
  if (info == nullptr || !Write(image, png, info, &bytes, &why)) {
    status = absl::InternalError(absl::StrCat("cannot encode an image as PNG: ", why));
  }
  png_destroy_write_struct(&png, &info);  // and with it what `why` may point to
  if (!status.ok()) return status;
  return bytes;
}

absl::StatusOr<GreyImage> DecodePng(std::string_view png) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  const auto refused = [&image](absl::string_view why) {
    png_image_free(&image);
    return absl::InvalidArgumentError(absl::StrCat("these bytes are not a PNG image: ", why));
  };
  if (png_image_begin_read_from_memory(&image, png.data(), png.size()) == 0) return refused(image.message);
  if (uint64_t{image.width} * image.height > kMaxPixels) return refused("it has too many pixels");
  image.format = PNG_FORMAT_GRAY;
  image.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;  // 16 bits are levels as 8 are, and not of linear light
  GreyImage decoded{.width = static_cast<int>(image.width),
                    .height = static_cast<int>(image.height),
                    .pixels = std::vector<uint8_t>(PNG_IMAGE_SIZE(image))};
  const png_color black{};
  if (png_image_finish_read(&image, &black, decoded.pixels.data(), /*row_stride=*/0, nullptr) == 0) {
    return refused(image.message);
  }
  return decoded;
}

bool HasTransparentPixels(std::string_view png) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  bool transparent = false;
  if (png_image_begin_read_from_memory(&image, png.data(), png.size()) != 0 &&
      (image.format & PNG_FORMAT_FLAG_ALPHA) != 0 && uint64_t{image.width} * image.height <= kMaxPixels) {
    image.format = PNG_FORMAT_GA;
    std::vector<uint8_t> pixels(PNG_IMAGE_SIZE(image));
    if (png_image_finish_read(&image, nullptr, pixels.data(), /*row_stride=*/0, nullptr) != 0) {
      for (size_t i = 1; i < pixels.size(); i += 2) transparent |= pixels[i] != 255;
    }
  }
  png_image_free(&image);
  return transparent;
}

}  // namespace denoised
