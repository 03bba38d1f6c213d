#include "trainer/data/png_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <opencv2/imgcodecs.hpp>

#include "common/image/image.h"
#include "common/image/png.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "trainer/data/model_pixels.h"

namespace denoised {
namespace {

using testing::ElementsAre;

std::string Png(int width, int height, uint8_t grey) {
  return *EncodePng(
      {.width = width, .height = height, .pixels = std::vector<uint8_t>(static_cast<size_t>(width) * height, grey)});
}

class PngFolderTest : public testing::Test {
 protected:
  void Put(const std::string& class_name, const std::string& file, const std::string& bytes) {
    std::filesystem::create_directories(folder_.File(class_name));
    folder_.Write(class_name + "/" + file, bytes);
  }
  absl::StatusOr<Dataset> Load(const std::vector<std::string>& class_names = {}) {
    return LoadPngFolder(folder_.path(), class_names);
  }
  void ExpectRefused(const std::string& message) {
    EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument, message));
  }

  TempFolder folder_;
};

TEST_F(PngFolderTest, FoldersAreClassesInOrder) {
  Put("beta", "a.png", Png(28, 28, 255));
  Put("beta", ".DS_Store", "hidden");
  Put("alpha", "b.png", Png(28, 28, 20));
  Put("alpha", "a.PNG", Png(28, 28, 21));
  Put(".git", "a.txt", "hidden too");
  folder_.Write("class_notes.md", "a file beside the classes");
  const absl::StatusOr<Dataset> data = Load();
  ASSERT_THAT(data, IsOk());
  EXPECT_THAT(data->class_names, ElementsAre("alpha", "beta"));
  EXPECT_THAT(data->labels, ElementsAre(0, 0, 1));
  ASSERT_EQ(data->pixels.size(), 3u * kModelPixels);
  EXPECT_EQ(data->pixels.front(), 21);
  EXPECT_EQ(data->pixels[kModelPixels], 20);
  EXPECT_EQ(data->pixels.back(), 255);
  EXPECT_EQ(data->sha256[0].first, "3 PNGs in 2 folders");
}

TEST_F(PngFolderTest, NumbersComeByTheirValueAndMustBeTheirClasses) {
  for (int i = 0; i <= 10; ++i) Put(std::to_string(i), "a.png", Png(28, 28, 1));
  EXPECT_THAT(Load()->class_names, ElementsAre("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"));
  std::filesystem::remove_all(folder_.File("3"));
  ExpectRefused(folder_.path() +
                ": the name of class 3 is \"4\", which everybody takes for the number of a class; use a word, such as "
                "\"no 4\"");
}

TEST_F(PngFolderTest, NamesGiveTheOrder) {
  Put("cat", "a.png", Png(32, 32, 1));
  Put("ant", "a.png", Png(32, 32, 2));
  const absl::StatusOr<Dataset> data = Load({"cat", "ant"});
  ASSERT_THAT(data, IsOk());
  EXPECT_THAT(data->class_names, ElementsAre("cat", "ant"));
  EXPECT_EQ(data->pixels.front(), 1);
  EXPECT_THAT(Load({"cat", "ant", "bee"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "class \"bee\" is named, but there is no folder " + folder_.path() + "/bee"));
  EXPECT_THAT(Load({"cat"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       folder_.path() + "/ant is not among the names of the classes; name it, or move it elsewhere"));
}

TEST_F(PngFolderTest, TheRecordChangesWithAnyByteNameOrPlace) {
  Put("a", "x.png", Png(32, 32, 1));
  Put("b", "y.png", Png(32, 32, 2));
  const std::string first = Load()->sha256[0].second;
  EXPECT_EQ(Load()->sha256[0].second, first);
  Put("b", "y.png", Png(32, 32, 3));
  const std::string second = Load()->sha256[0].second;
  EXPECT_NE(second, first);
  std::filesystem::rename(folder_.File("b/y.png"), folder_.File("b/z.png"));
  EXPECT_NE(Load()->sha256[0].second, second);
}

TEST_F(PngFolderTest, WhatCannotBeLearntIsNamed) {
  Put("a", "1.png", Png(28, 28, 1));
  std::filesystem::create_directory(folder_.File("b"));
  ExpectRefused("class \"b\" has no images: " + folder_.File("b") + " holds no PNG; put some in, or remove the folder");
  Put("b", "1.png", Png(28, 30, 1));
  ExpectRefused(folder_.File("b/1.png") + " has 28x30 pixels, those before it 28x28: make them all of one size");
  Put("a", "1.png", Png(28, 30, 1));
  ExpectRefused(folder_.File("a/1.png") + " holds images of 28x30 pixels, expected square ones of 8x8 to 1024x1024");
  Put("a", "1.png", "GIF89a");
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument,
                               testing::StartsWith("cannot read " + folder_.File("a/1.png") +
                                                   ": these bytes are not a PNG image: ")));
  std::vector<uint8_t> transparent;
  ASSERT_TRUE(cv::imencode(".png", cv::Mat(28, 28, CV_8UC4, cv::Scalar(0, 0, 0, 0)), transparent));
  Put("a", "1.png", std::string(transparent.begin(), transparent.end()));
  ExpectRefused(folder_.File("a/1.png") +
                " is transparent in places, which could mean black or white: put it on a background; MNIST's is black, "
                "with white strokes");
  std::filesystem::create_directory(folder_.File("a/more"));
  ExpectRefused(folder_.File("a/more") +
                " is a folder within a class, and images in it would not be read: move them up, or it away");
  std::filesystem::remove(folder_.File("a/more"));
  Put("a", "0.jpg", "JFIF");
  ExpectRefused(folder_.File("a/0.jpg") +
                " is not named .png, and only PNGs are read; convert it, or move it elsewhere");
}

TEST_F(PngFolderTest, AFolderThatIsNotThere) {
  EXPECT_FALSE(HasClassFolders("/nowhere"));
  EXPECT_THAT(LoadPngFolder("/nowhere", {}),
              StatusIs(absl::StatusCode::kNotFound, "cannot read the folder /nowhere: No such file or directory"));
}

// Lines a pixel wide would fall between the pixels of a plain bilinear filter.
TEST(ModelPixelsTest, NoLineOfALargeImageIsLost) {
  for (int line = 0; line < 256; ++line) {
    GreyImage image{.width = 256, .height = 256, .pixels = std::vector<uint8_t>(size_t{256} * 256)};
    for (int x = 0; x < 256; ++x) image.pixels[static_cast<size_t>(line) * 256 + x] = 255;
    std::vector<uint8_t> pixels;
    ASSERT_THAT(AppendModelPixels(image, pixels), IsOk());
    int sum = 0;
    for (int y = 0; y < kModelSize; ++y) sum += pixels[static_cast<size_t>(y) * kModelSize];
    EXPECT_NEAR(sum, 32, 2) << "line " << line;
  }
}

TEST(ModelPixelsTest, ImagesOfTheModelsSizeStayAsTheyAre) {
  GreyImage image{.width = kModelSize, .height = kModelSize, .pixels = {}};
  for (int i = 0; i < kModelPixels; ++i) image.pixels.push_back(static_cast<uint8_t>(i * 7));
  std::vector<uint8_t> pixels;
  ASSERT_THAT(AppendModelPixels(image, pixels), IsOk());
  EXPECT_EQ(pixels, image.pixels);
}

}  // namespace
}  // namespace denoised
