#include "client/animation.h"

#include <gif_lib.h>
#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/image/png.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr int kGreys = 256;

absl::Status CheckFrames(const std::vector<GreyImage>& frames) {
  if (frames.empty()) return absl::InvalidArgumentError("an animation needs a frame at least");
  for (const GreyImage& frame : frames) {
    if (frame.width == frames[0].width && frame.height == frames[0].height) continue;
    return absl::InvalidArgumentError(absl::StrCat("the frames of an animation must be of one size, got ",
                                                   frames[0].width, "x", frames[0].height, " and ", frame.width, "x",
                                                   frame.height));
  }
  return absl::OkStatus();
}

int Milliseconds(const AnimationTiming& timing, bool last) { return last ? timing.last_ms : timing.frame_ms; }

// ---- GIF ----

int Append(GifFileType* gif, const GifByteType* bytes, int size) {
  static_cast<std::string*>(gif->UserData)->append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
  return size;
}

// giflib's calls return GIF_OK or GIF_ERROR: each of these is true if all went well.
class GifWriter {
 public:
  GifWriter()
      : gif_(EGifOpen(&bytes_, &Append, nullptr)), greys_(GifMakeMapObject(kGreys, nullptr), &GifFreeMapObject) {
    for (int i = 0; greys_ != nullptr && i < kGreys; ++i) {
      const auto grey = static_cast<GifByteType>(i);
      greys_->Colors[i] = {grey, grey, grey};
    }
  }
  ~GifWriter() {
    if (gif_ != nullptr) EGifCloseFile(gif_, nullptr);
  }
  GifWriter(const GifWriter&) = delete;
  GifWriter& operator=(const GifWriter&) = delete;

  bool Begin(int width, int height) {
    if (gif_ == nullptr || greys_ == nullptr) return false;
    EGifSetGifVersion(gif_, true);
    return EGifPutScreenDesc(gif_, width, height, 8, 0, greys_.get()) == GIF_OK && RepeatForEver();
  }

  bool Add(const GreyImage& frame, int milliseconds) {
    const GraphicsControlBlock control = {
        .DisposalMode = DISPOSE_DO_NOT, .UserInputFlag = false, .DelayTime = milliseconds / 10, .TransparentColor = -1};
    GifByteType extension[4];
    const auto size = static_cast<int>(EGifGCBToExtension(&control, extension));
    if (EGifPutExtension(gif_, GRAPHICS_EXT_FUNC_CODE, size, extension) != GIF_OK) return false;
    if (EGifPutImageDesc(gif_, 0, 0, frame.width, frame.height, false, nullptr) != GIF_OK) return false;
    std::vector<uint8_t> row(static_cast<size_t>(frame.width));
    for (int y = 0; y < frame.height; ++y) {
      const auto begin = frame.pixels.begin() + static_cast<ptrdiff_t>(y) * frame.width;
      row.assign(begin, begin + frame.width);
      if (EGifPutLine(gif_, row.data(), frame.width) != GIF_OK) return false;
    }
    return true;
  }

  bool End() { return EGifCloseFile(std::exchange(gif_, nullptr), nullptr) == GIF_OK; }
  std::string bytes() const { return bytes_; }

 private:
  bool RepeatForEver() {
    static constexpr std::string_view kLoop = "NETSCAPE2.0";
    static constexpr GifByteType kTimes[] = {1, 0, 0};
    return EGifPutExtensionLeader(gif_, APPLICATION_EXT_FUNC_CODE) == GIF_OK &&
           EGifPutExtensionBlock(gif_, static_cast<int>(kLoop.size()), kLoop.data()) == GIF_OK &&
           EGifPutExtensionBlock(gif_, sizeof kTimes, kTimes) == GIF_OK && EGifPutExtensionTrailer(gif_) == GIF_OK;
  }

  std::string bytes_;
  GifFileType* gif_;
  const std::unique_ptr<ColorMapObject, decltype(&GifFreeMapObject)> greys_;
};

// ---- APNG ----

constexpr size_t kSignatureSize = 8;

std::string BigEndian(uint32_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i) & 0xff);
  return text;
}

uint32_t ReadBigEndian(std::string_view bytes) {
  uint32_t value = 0;
  for (const char byte : bytes.substr(0, 4)) value = value << 8 | static_cast<uint8_t>(byte);
  return value;
}

std::string Chunk(const std::string& type, const std::string& data) {
  const std::string checked = type + data;
  const uLong crc = crc32(0, reinterpret_cast<const Bytef*>(checked.data()), static_cast<uInt>(checked.size()));
  return absl::StrCat(BigEndian(static_cast<uint32_t>(data.size()), 4), checked,
                      BigEndian(static_cast<uint32_t>(crc), 4));
}

// Calls `visit(type, data)` for each chunk of a PNG that this program made.
template <typename Visitor>
void ForEachChunk(std::string_view png, const Visitor& visit) {
  for (size_t at = kSignatureSize; at + 12 <= png.size();) {
    const size_t size = ReadBigEndian(png.substr(at));
    visit(png.substr(at + 4, 4), png.substr(at + 8, size));
    at += 12 + size;
  }
}

std::string FrameControl(uint32_t sequence, const GreyImage& frame, int milliseconds) {
  return Chunk("fcTL", absl::StrCat(BigEndian(sequence, 4), BigEndian(static_cast<uint32_t>(frame.width), 4),
                                    BigEndian(static_cast<uint32_t>(frame.height), 4), BigEndian(0, 4), BigEndian(0, 4),
                                    BigEndian(static_cast<uint32_t>(milliseconds), 2), BigEndian(1000, 2),
                                    BigEndian(0, 2)));  // keep it, and replace all of it by the next
}

}  // namespace

absl::StatusOr<std::string> EncodeGif(const std::vector<GreyImage>& frames, const AnimationTiming& timing) {
  DENOISED_RETURN_IF_ERROR(CheckFrames(frames));
  GifWriter gif;
  bool ok = gif.Begin(frames[0].width, frames[0].height);
  for (size_t i = 0; ok && i < frames.size(); ++i) {
    ok = gif.Add(frames[i], Milliseconds(timing, i + 1 == frames.size()));
  }
  if (!ok || !gif.End()) return absl::InternalError("the GIF could not be made");
  return gif.bytes();
}

absl::StatusOr<std::string> EncodeApng(const std::vector<GreyImage>& frames, const AnimationTiming& timing) {
  DENOISED_RETURN_IF_ERROR(CheckFrames(frames));
  std::string apng;
  uint32_t sequence = 0;
  for (size_t i = 0; i < frames.size(); ++i) {
    DENOISED_ASSIGN_OR_RETURN(const std::string png, EncodePng(frames[i]));
    const std::string control = FrameControl(sequence++, frames[i], Milliseconds(timing, i + 1 == frames.size()));
    if (i > 0) apng += control;
    if (i == 0) apng = png.substr(0, kSignatureSize);
    bool controlled = i > 0;
    ForEachChunk(png, [&](std::string_view type, std::string_view data) {
      const std::string body(data);
      if (type == "IHDR" && i == 0) {
        const auto count = static_cast<uint32_t>(frames.size());
        absl::StrAppend(&apng, Chunk("IHDR", body), Chunk("acTL", BigEndian(count, 4) + BigEndian(0, 4)));
      } else if (type == "IDAT" && i == 0) {
        if (!std::exchange(controlled, true)) apng += control;
        apng += Chunk("IDAT", body);
      } else if (type == "IDAT") {
        apng += Chunk("fdAT", BigEndian(sequence++, 4) + body);
      }
    });
  }
  return apng + Chunk("IEND", "");
}

}  // namespace denoised
