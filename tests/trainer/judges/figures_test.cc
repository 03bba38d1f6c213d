#include "trainer/judges/figures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "common/image/image.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;

Features Points(size_t dim, std::vector<float> values) { return {.dim = dim, .values = std::move(values)}; }

// Independent normals around `centre`.
Features Cloud(size_t count, size_t dim, float centre, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(centre, 1);
  Features cloud{.dim = dim, .values = std::vector<float>(count * dim)};
  for (float& value : cloud.values) value = normal(random);
  return cloud;
}

double Distance(const Features& a, const Features& b) { return *FrechetDistance(*FitGaussian(a), *FitGaussian(b)); }

// ---- Distance of distributions --------------------------------------------------------------------------------------

TEST(FitGaussianTest, MeanAndCovarianceOfFourPoints) {
  const absl::StatusOr<Gaussian> gaussian = FitGaussian(Points(2, {0, 0, 2, 2, 0, 2, 2, 4}));
  ASSERT_THAT(gaussian, IsOk());
  EXPECT_THAT(gaussian->mean, ElementsAre(1, 2));
  // Sums of squares and products 4, 4 and 8, divided by N - 1.
  EXPECT_THAT(gaussian->covariance, ElementsAre(DoubleNear(4. / 3, 1e-12), DoubleNear(4. / 3, 1e-12),
                                                DoubleNear(4. / 3, 1e-12), DoubleNear(8. / 3, 1e-12)));
}

TEST(FitGaussianTest, OnePointHasNoCovariance) {
  EXPECT_THAT(FitGaussian(Points(2, {1, 2})),
              StatusIs(absl::StatusCode::kInvalidArgument, "a covariance needs at least 2 points, got 1"));
}

TEST(FrechetDistanceTest, OfASetToItselfIsNothing) {
  const Features cloud = Cloud(500, 84, 0, 1);
  EXPECT_NEAR(Distance(cloud, cloud), 0, 1e-9);
}

TEST(FrechetDistanceTest, FewerPointsThanNumbersAreNoHindrance) {
  const Features few = Cloud(20, 84, 0, 1);
  EXPECT_NEAR(Distance(few, few), 0, 1e-4);
  EXPECT_GE(Distance(few, few), 0) << "no distance is negative";
}

// In one dimension: (mean_a - mean_b)^2 + (sigma_a - sigma_b)^2.
TEST(FrechetDistanceTest, OneDimension) {
  EXPECT_NEAR(*FrechetDistance({.mean = {3}, .covariance = {4}}, {.mean = {1}, .covariance = {25}}), 4 + 9, 1e-9);
}

TEST(FrechetDistanceTest, IndependentDimensionsAdd) {
  const Gaussian a = {.mean = {0, 1, 0}, .covariance = {1, 0, 0, 0, 4, 0, 0, 0, 9}};
  const Gaussian b = {.mean = {0, 0, 2}, .covariance = {4, 0, 0, 0, 16, 0, 0, 0, 9}};
  EXPECT_NEAR(*FrechetDistance(a, b), 1 + 4 + (1 + 4 + 0), 1e-9);
}

// Covariances that do not commute; for 2x2, tr (A B)^1/2 = sqrt(tr(A B) + 2 sqrt(det A det B)).
TEST(FrechetDistanceTest, CorrelatedDimensions) {
  const Gaussian a = {.mean = {0, 0}, .covariance = {2, 1, 1, 3}};    // determinant 5
  const Gaussian b = {.mean = {0, 0}, .covariance = {5, -2, -2, 1}};  // determinant 1
  const double product_trace = 2 * 5 + 2 * 1 * -2 + 3 * 1;
  const double expected = 5 + 6 - 2 * std::sqrt(product_trace + 2 * std::sqrt(5 * 1));
  EXPECT_NEAR(*FrechetDistance(a, b), expected, 1e-9);
  EXPECT_NEAR(*FrechetDistance(b, a), expected, 1e-9) << "it is symmetric";
}

TEST(FrechetDistanceTest, SamplesComeCloseToTheirGaussians) {
  // Unit covariances, means 2 apart in each of 8 dimensions.
  EXPECT_NEAR(Distance(Cloud(20'000, 8, 0, 1), Cloud(20'000, 8, 2, 2)), 8 * 4, 0.3);
}

TEST(FrechetDistanceTest, DifferentFeaturesCannotBeCompared) {
  EXPECT_THAT(FrechetDistance({.mean = {0}, .covariance = {1}}, {.mean = {0, 0}, .covariance = {1, 0, 0, 1}}),
              StatusIs(absl::StatusCode::kInvalidArgument, "features of 1 and 2 numbers cannot be compared"));
}

// ---- Precision, recall, density and coverage ----------------------------------------------------------------------

TEST(PrdcTest, SameSetsAndSetsFarApart) {
  const Features cloud = Cloud(1200, 3, 0, 1);  // more than are in memory at once
  const absl::StatusOr<Prdc> same = ComputePrdc(cloud, cloud, 5);
  ASSERT_THAT(same, IsOk());
  EXPECT_EQ(same->precision, 1);
  EXPECT_EQ(same->recall, 1);
  EXPECT_EQ(same->coverage, 1);
  EXPECT_NEAR(same->density, 1.2, 0.01) << "each ball holds its centre, five more, and ends at the last: rounding";
  const absl::StatusOr<Prdc> apart = ComputePrdc(cloud, Cloud(1200, 3, 100, 2), 5);
  EXPECT_EQ(apart->precision, 0);
  EXPECT_EQ(apart->recall, 0);
  EXPECT_EQ(apart->density, 0);
  EXPECT_EQ(apart->coverage, 0);
}

// Real points on a line, 1 apart: with k = 1 each one's ball reaches its neighbours.
TEST(PrdcTest, BallsOnALine) {
  const Features real = Points(1, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  const Features generated = Points(1, {-0.5F, 0.5F, 9.9F, 11, 20});
  const absl::StatusOr<Prdc> shares = ComputePrdc(real, generated, 1);
  ASSERT_THAT(shares, IsOk());
  EXPECT_DOUBLE_EQ(shares->precision, 3. / 5) << "11 and 20 are outside";
  // Radii 1, 1, 1.1, 1.1 and 9: 0 and 1 lie in the first two balls, 9 in the third, none of 2 to 8 but in the fifth's,
  // which reaches from 11 on.
  EXPECT_DOUBLE_EQ(shares->recall, 3. / 10);
  EXPECT_DOUBLE_EQ(shares->density, (1 + 2 + 1) / 5.)
      << "-0.5 lies in the ball of 0, 0.5 in those of 0 and 1, 9.9 in 9's";
  EXPECT_DOUBLE_EQ(shares->coverage, 3. / 10) << "the balls of 0, 1 and 9";
}

TEST(PrdcTest, OneModeOfTwoIsPreciseButRecallsAndCoversHalf) {
  Features real = Cloud(300, 2, 0, 1);
  const Features other = Cloud(300, 2, 50, 2);
  real.values.insert(real.values.end(), other.values.begin(), other.values.end());
  const absl::StatusOr<Prdc> shares = ComputePrdc(real, Cloud(300, 2, 0, 3), 5);
  ASSERT_THAT(shares, IsOk());
  EXPECT_GT(shares->precision, 0.9);
  EXPECT_NEAR(shares->recall, 0.5, 0.05);
  EXPECT_NEAR(shares->coverage, 0.5, 0.05);
}

// One stray generated point opens a ball over all real points: recall believes it, coverage does not.
TEST(PrdcTest, OneStrayPointRecallsEverythingAndCoversNothing) {
  const Features real = Cloud(100, 2, 0, 1);
  const absl::StatusOr<Prdc> shares = ComputePrdc(real, Points(2, {50, 50, 51, 51, -60, -60}), 1);
  ASSERT_THAT(shares, IsOk());
  EXPECT_EQ(shares->recall, 1);
  EXPECT_EQ(shares->coverage, 0);
}

TEST(PrdcTest, TooFewPointsAreSaid) {
  EXPECT_THAT(
      ComputePrdc(Cloud(9, 2, 0, 1), Cloud(5, 2, 0, 2), 5),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("need more than 5 points of one kind on each side, "
                                                             "got 9 of 2 numbers and 5 of 2")));
}

// ---- Nearest neighbours ---------------------------------------------------------------------------------------------

TEST(FindNeighboursTest, DistancesAreOfPixelsInZeroToOne) {
  std::vector<uint8_t> references(size_t{3} * kModelPixels, 0), query(kModelPixels, 0);
  std::fill_n(references.begin(), 4, uint8_t{255});                                     // distance 2 from black
  std::fill_n(references.begin() + std::ptrdiff_t{2} * kModelPixels, 9, uint8_t{255});  // distance 3
  query[0] = 255;
  const absl::StatusOr<std::vector<Neighbours>> found = FindNeighbours(query, references, {.threads = 1});
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->at(0).nearest, 1u);
  EXPECT_DOUBLE_EQ(found->at(0).nearest_distance, 1);
  EXPECT_EQ(found->at(0).second, 0u);
  EXPECT_DOUBLE_EQ(found->at(0).second_distance, std::sqrt(3));
  EXPECT_DOUBLE_EQ(found->at(0).ratio(), 1 / std::sqrt(3));
}

// More queries and references than are in memory at once, shared out over threads: each query is a reference with one
// pixel changed, and another reference, far away in the file, is that one with two pixels changed.
TEST(FindNeighboursTest, FindsWhatIsHiddenAmongThousands) {
  constexpr size_t kReferences = 9000, kQueries = 300, kFar = 8500;
  std::mt19937_64 random(1);
  std::vector<uint8_t> references(kReferences * kModelPixels), queries(kQueries * kModelPixels);
  for (uint8_t& pixel : references) pixel = static_cast<uint8_t>(random() & 0x7f);
  for (size_t i = 0; i < kQueries; ++i) {
    uint8_t* query = queries.data() + i * kModelPixels;
    std::copy_n(references.begin() + static_cast<std::ptrdiff_t>(i * kModelPixels), kModelPixels, query);
    query[i] += 10;
    uint8_t* far = references.data() + (kFar + i) * kModelPixels;
    std::copy_n(query, kModelPixels, far);
    far[i + 1] += 20;
    far[i + 2] += 20;
  }
  const absl::StatusOr<std::vector<Neighbours>> found = FindNeighbours(queries, references, {.threads = 2});
  ASSERT_THAT(found, IsOk());
  for (size_t i = 0; i < kQueries; ++i) {
    ASSERT_EQ(found->at(i).nearest, i);
    ASSERT_EQ(found->at(i).second, kFar + i);
    ASSERT_DOUBLE_EQ(found->at(i).nearest_distance, 10. / 255);
    ASSERT_DOUBLE_EQ(found->at(i).second_distance, std::sqrt(800) / 255);
  }
}

TEST(FindNeighboursTest, CopyOfAReferenceThatIsThereTwiceHasRatioZero) {
  const std::vector<uint8_t> references(size_t{2} * kModelPixels, 7), query(kModelPixels, 7);
  EXPECT_EQ(FindNeighbours(query, references, {.threads = 1})->at(0).ratio(), 0);
}

TEST(FindNeighboursTest, StopsWhenAsked) {
  const std::vector<uint8_t> images(size_t{2} * kModelPixels, 7);
  EXPECT_THAT(FindNeighbours(images, images, {.stop_requested = [] { return true; }}),
              StatusIs(absl::StatusCode::kCancelled, "stopped while looking for neighbours"));
}

TEST(FindNeighboursTest, OneReferenceIsNotEnough) {
  const std::vector<uint8_t> one(kModelPixels, 0);
  EXPECT_THAT(FindNeighbours(one, one, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, "nearest neighbours need at least 2 reference images"));
}

// ---- Counts ---------------------------------------------------------------------------------------------------------

TEST(ClassAccuracyTest, OverallByClassAndTheWorst) {
  const Accuracy accuracy = ClassAccuracy({0, 0, 1, 7, 2, 2, 9}, {0, 0, 1, 1, 2, 3, 9}, 10);
  EXPECT_DOUBLE_EQ(accuracy.overall, 5. / 7);
  EXPECT_EQ(accuracy.right, 5);
  EXPECT_EQ(accuracy.of, 7);
  EXPECT_EQ(accuracy.by_class.size(), 10u);
  EXPECT_DOUBLE_EQ(accuracy.by_class[0], 1);
  EXPECT_DOUBLE_EQ(accuracy.by_class[1], 0.5);
  EXPECT_DOUBLE_EQ(accuracy.by_class[3], 0);
  EXPECT_TRUE(std::isnan(accuracy.by_class[4])) << "there is no four";
  EXPECT_EQ(accuracy.worst_class, 3);
  EXPECT_EQ(accuracy.worst(), 0);
}

TEST(ClassAccuracyTest, TwoClassesAndAsManyAsABytePermits) {
  const Accuracy two = ClassAccuracy({0, 1, 1}, {0, 0, 1}, 2);
  EXPECT_THAT(two.by_class, ElementsAre(0.5, 1));
  EXPECT_EQ(two.worst_class, 0);
  const Accuracy many = ClassAccuracy({255, 0, 7}, {255, 255, 7}, 256);
  EXPECT_EQ(many.by_class.size(), 256u);
  EXPECT_DOUBLE_EQ(many.by_class[255], 0.5);
  EXPECT_EQ(many.worst_class, 255);
}

TEST(ClassAccuracyTest, OfNoClassesThereIsNoWorst) { EXPECT_TRUE(std::isnan(Accuracy{}.worst())); }

TEST(WorstClassTest, FirstOfTheLowestAndNeverOneWithoutImages) {
  const double none = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(WorstClass({none, 0.5, 0.25, 0.25}), 2);
  EXPECT_EQ(WorstClass({none, none}), 0);
}

TEST(CountClassesTest, EveryClassHasACount) { EXPECT_THAT(CountClasses({2, 0, 2}, 4), ElementsAre(1, 0, 2, 0)); }

// Against figures of a table: 8 of 10 gives 0.490 to 0.943 (Newcombe 1998, Statistics in Medicine 17, method 3).
TEST(WilsonIntervalTest, NeverLeavesZeroToOneAndShrinksWithTrials) {
  EXPECT_NEAR(WilsonInterval(8, 10).low, 0.490, 5e-4);
  EXPECT_NEAR(WilsonInterval(8, 10).high, 0.943, 5e-4);
  EXPECT_NEAR(WilsonInterval(0, 10).low, 0, 1e-12);
  EXPECT_NEAR(WilsonInterval(0, 10).high, 0.278, 5e-4);
  EXPECT_NEAR(WilsonInterval(10, 10).high, 1, 1e-12);
  EXPECT_NEAR(WilsonInterval(10, 10).low, 0.722, 5e-4);
  EXPECT_NEAR(WilsonInterval(2979, 3000).low, 0.9893, 5e-5);
  EXPECT_NEAR(WilsonInterval(2979, 3000).high, 0.9954, 5e-5);
}

TEST(InProportionTest, WholeHistogramAndLargestRemainders) {
  const ClassCounts mnist = {980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009};
  EXPECT_EQ(InProportion(mnist, 10'000), mnist);
  EXPECT_EQ(InProportion(mnist, 20'000)[5], 1784);
  // 98.0, 113.5, 103.2, 101.0, 98.2, 89.2, 95.8, 102.8, 97.4, 100.9 of a thousand: 3 are left for .9, .8 and .8, then
  // .5.
  EXPECT_THAT(InProportion(mnist, 1000), ElementsAre(98, 114, 103, 101, 98, 89, 96, 103, 97, 101));
  for (int count = 10; count < 300; ++count) {
    const ClassCounts counts = InProportion(mnist, count);
    ASSERT_EQ(std::accumulate(counts.begin(), counts.end(), 0), count);
  }
}

TEST(InProportionTest, OfAnyNumberOfClasses) {
  EXPECT_THAT(InProportion({1, 3}, 8), ElementsAre(2, 6));
  EXPECT_EQ(InProportion(ClassCounts(256, 5), 512), ClassCounts(256, 2));
  EXPECT_THAT(InProportion({0, 0, 0}, 5), ElementsAre(0, 0, 0));
}

TEST(PixelStatisticsTest, BlackAndWhite) {
  const PixelStatistics statistics = ComputePixelStatistics({0, 0, 0, 255});
  EXPECT_DOUBLE_EQ(statistics.mean, 0.25);
  EXPECT_NEAR(statistics.standard_deviation, std::sqrt(3) / 4, 1e-12);
  EXPECT_DOUBLE_EQ(statistics.black, 0.75);
}

TEST(QuantileTest, InterpolatesBetweenNeighbours) {
  EXPECT_EQ(Quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_EQ(Quantile({4, 1, 3, 2}, 0), 1);
  EXPECT_EQ(Quantile({4, 1, 3, 2}, 1), 4);
  EXPECT_EQ(Quantile({5}, 0.01), 5);
  EXPECT_TRUE(std::isnan(Quantile({}, 0.5)));
}

TEST(SelectTest, TakesPointsInTheOrderAskedFor) {
  EXPECT_THAT(Select(Points(2, {0, 1, 10, 11, 20, 21}), {2, 0}).values, ElementsAre(20, 21, 0, 1));
}

}  // namespace
}  // namespace denoised
