#include "common/diffusion/noise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

namespace denoised {
namespace {

using testing::ElementsAre;

std::vector<float> Noise(const NoiseKey& key, size_t n) {
  std::vector<float> out(n);
  FillNoise(key, absl::MakeSpan(out));
  return out;
}

// The vectors that Random123 publishes with its sources (kat_vectors, philox4x32 10).
TEST(Philox4x32Test, KnownAnswers) {
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, {0, 0}), ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(Philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(NormalPairTest, IsBoxAndMullersFormula) {
  for (const uint32_t r0 : {0u, 1u << 9, 0x12345678u, 0x80000000u, ~0u}) {
    for (const uint32_t r1 : {0u, 0x1fffffffu, 0x40000000u, 0x9abcdef0u, ~0u}) {
      const double u = ((r0 >> 9) * 2.0 + 1) / 16777216.0;
      const double angle = 2 * std::acos(-1.0) * (r1 >> 8) / 16777216.0;
      const double radius = std::sqrt(-2 * std::log(u));
      const std::array<float, 2> pair = NormalPair(r0, r1);
      EXPECT_NEAR(pair[0], radius * std::cos(angle), 2e-6) << r0 << " " << r1;
      EXPECT_NEAR(pair[1], radius * std::sin(angle), 2e-6) << r0 << " " << r1;
    }
  }
}

TEST(FillNoiseTest, IsStandardNormal) {
  const std::vector<float> noise = Noise({.seed = 7}, 1 << 20);
  double sum = 0, squares = 0, fourths = 0;
  for (const double z : noise) {
    sum += z;
    squares += z * z;
    fourths += z * z * z * z;
  }
  const double n = static_cast<double>(noise.size());
  EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1, 5 * std::sqrt(2 / n));
  EXPECT_NEAR(fourths / n, 3, 5 * std::sqrt(96 / n));
}

TEST(FillNoiseTest, DoesNotDependOnTheLength) {
  const std::vector<float> whole = Noise({.seed = 3, .image_index = 1, .stream = 2}, 1024);
  for (const size_t n : {1u, 2u, 3u, 4u, 5u, 1023u}) {
    EXPECT_EQ(Noise({.seed = 3, .image_index = 1, .stream = 2}, n),
              std::vector<float>(whole.begin(), whole.begin() + n));
  }
}

// The definition in noise.h, word for word: images are reproducible only as long as it stays.
TEST(FillNoiseTest, IsPhiloxOfElementImageAndStreamUnderTheSeed) {
  constexpr NoiseKey kKey{.seed = 0x0123456789abcdef, .image_index = 5, .stream = 900};
  const std::vector<float> noise = Noise(kKey, 1024);
  for (uint32_t block = 0; block < 256; ++block) {
    const std::array<uint32_t, 4> r =
        Philox4x32({block, kKey.image_index, kKey.stream, 0}, {/*seed low*/ 0x89abcdef, /*seed high*/ 0x01234567});
    const std::array<float, 2> first = NormalPair(r[0], r[1]);
    const std::array<float, 2> second = NormalPair(r[2], r[3]);
    EXPECT_EQ(std::vector<float>(noise.begin() + 4 * block, noise.begin() + 4 * block + 4),
              (std::vector<float>{first[0], first[1], second[0], second[1]}))
        << "block " << block;
  }
}

TEST(FillNoiseTest, EveryPartOfTheKeyCounts) {
  const std::vector<float> noise = Noise({.seed = 1, .image_index = 0, .stream = 0}, 8);
  EXPECT_NE(Noise({.seed = 2}, 8), noise);
  EXPECT_NE(Noise({.seed = 1 + (uint64_t{1} << 32)}, 8), noise);
  EXPECT_NE(Noise({.seed = 1, .image_index = 1}, 8), noise);
  EXPECT_NE(Noise({.seed = 1, .stream = 1}, 8), noise);
}

}  // namespace
}  // namespace denoised
