#include "client/calls/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/image/png.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

TEST(ReadPictureTest, IsTheInverseOfEncoding) {
  const GreyImage image{.width = 2, .height = 1, .pixels = {0, 255}};
  const absl::StatusOr<GreyImage> read = ReadPicture(*EncodePng(image));
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(*read, image);
}

TEST(ReadPictureTest, BrokenPictureIsTheServersFault) {
  EXPECT_THAT(ReadPicture("no PNG"), StatusIs(absl::StatusCode::kInternal,
                                              testing::StartsWith("the server sent a picture that cannot be read: ")));
}

TEST(CheckCompleteTest, MissingImagesAreAnError) {
  EXPECT_THAT(CheckComplete(3, 3), IsOk());
  EXPECT_THAT(CheckComplete(1, 3),
              StatusIs(absl::StatusCode::kInternal, "the server ended the call after 1 of 3 images"));
}

TEST(SecondsTest, KeepNanoseconds) {
  google::protobuf::Duration duration;
  duration.set_seconds(3);
  duration.set_nanos(250'000'001);
  EXPECT_EQ(Seconds(duration), 3.250000001);
}

}  // namespace
}  // namespace denoised
