#include "client/animation.h"

#include <gif_lib.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "common/image/png.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

GreyImage Slope(int size, int offset) {
  GreyImage image{.width = size, .height = size, .pixels = {}};
  for (int i = 0; i < size * size; ++i) image.pixels.push_back(static_cast<uint8_t>(i + offset));
  return image;
}

// What a reader of GIFs that is not ours sees.
struct ReadGif {
  explicit ReadGif(const std::string& bytes) : rest(bytes) {
    const auto read = [](GifFileType* file, GifByteType* to, int size) {
      std::string& from = *static_cast<std::string*>(file->UserData);
      const size_t count = std::min(from.size(), static_cast<size_t>(size));
      std::copy_n(from.begin(), count, to);
      from.erase(0, count);
      return static_cast<int>(count);
    };
    gif = DGifOpen(&rest, read, nullptr);
    ok = gif != nullptr && DGifSlurp(gif) == GIF_OK;
  }
  ~ReadGif() { DGifCloseFile(gif, nullptr); }
  int Grey(int frame, int pixel) const {
    return gif->SColorMap->Colors[gif->SavedImages[frame].RasterBits[pixel]].Green;
  }
  int Delay(int frame) const {
    GraphicsControlBlock control{};
    DGifSavedExtensionToGCB(gif, frame, &control);
    return control.DelayTime;
  }

  std::string rest;
  GifFileType* gif = nullptr;
  bool ok = false;
};

TEST(AnimationTest, GifHasEveryPixelOfEveryFrame) {
  const std::vector<GreyImage> frames = {Slope(32, 0), Slope(32, 7), Slope(32, 100)};
  const absl::StatusOr<std::string> bytes = EncodeGif(frames, {.frame_ms = 60, .last_ms = 2000});
  ASSERT_THAT(bytes, IsOk());
  EXPECT_THAT(*bytes, testing::HasSubstr("NETSCAPE2.0"));
  const ReadGif gif(*bytes);
  ASSERT_TRUE(gif.ok);
  ASSERT_EQ(gif.gif->ImageCount, 3);
  for (int frame = 0; frame < 3; ++frame) {
    for (int pixel = 0; pixel < 32 * 32; ++pixel) {
      ASSERT_EQ(gif.Grey(frame, pixel), frames[static_cast<size_t>(frame)].pixels[static_cast<size_t>(pixel)]);
    }
    EXPECT_EQ(gif.Delay(frame), frame == 2 ? 200 : 6);
  }
}

TEST(AnimationTest, ApngIsAPngOfItsFirstFrameWithTheOthersBehind) {
  const std::vector<GreyImage> frames = {Slope(32, 0), Slope(32, 7)};
  const absl::StatusOr<std::string> bytes = EncodeApng(frames, {});
  ASSERT_THAT(bytes, IsOk());
  const absl::StatusOr<GreyImage> first = DecodePng(*bytes);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(*first, frames[0]);
  const size_t animation = bytes->find("acTL"), control = bytes->find("fcTL"), image = bytes->find("IDAT");
  EXPECT_LT(animation, control);
  EXPECT_LT(control, image);
  EXPECT_EQ(bytes->substr(animation + 4, 8), std::string("\0\0\0\2\0\0\0\0", 8)) << "two frames, for ever";
  EXPECT_LT(image, bytes->find("fdAT"));
  EXPECT_EQ(bytes->substr(bytes->size() - 8, 4), "IEND");
}

TEST(AnimationTest, FramesMustBeOfOneSize) {
  for (const auto encode : {&EncodeGif, &EncodeApng}) {
    EXPECT_THAT(encode({}, {}), StatusIs(absl::StatusCode::kInvalidArgument, "an animation needs a frame at least"));
    EXPECT_THAT(encode({Slope(32, 0), Slope(16, 0)}, {}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         "the frames of an animation must be of one size, got 32x32 and 16x16"));
  }
}

}  // namespace
}  // namespace denoised
