// File: figures.h
//
// The figures by which drawings are judged: pure functions of features, classes and pixels.
//
//   absl::StatusOr<double> distance = FrechetDistance(*FitGaussian(real), *FitGaussian(generated));
//   absl::StatusOr<Prdc> shares = ComputePrdc(real, generated, /*k=*/5);
//   absl::StatusOr<std::vector<Neighbours>> nearest = FindNeighbours(generated_pixels, training_pixels, {});
//
// Sums are taken in double precision. INVALID_ARGUMENT for shapes that do not fit; INTERNAL when LibTorch fails.
// Thread-safe.
#ifndef DENOISED_TRAINER_JUDGES_FIGURES_H_
#define DENOISED_TRAINER_JUDGES_FIGURES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace denoised {

// N points of `dim` numbers each, one after the other.
struct Features {
  size_t dim = 0;
  std::vector<float> values;

  size_t size() const { return dim == 0 ? 0 : values.size() / dim; }
};

// The points at `indices`, in that order.
Features Select(const Features& features, absl::Span<const size_t> indices);

// ---- Distance of distributions --------------------------------------------------------------------------------------

// Mean [D] and covariance [D,D] (divided by N-1) of N points, at least 2.
struct Gaussian {
  std::vector<double> mean;
  std::vector<double> covariance;
};
absl::StatusOr<Gaussian> FitGaussian(const Features& features);

// |mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) with A and B the covariances: the squared 2-Wasserstein
// distance of the two (Dowson and Landau 1982; Heusel et al., arXiv 1706.08500, equation 6). By symmetric
// eigendecomposition, eigenvalues that rounding made negative taken as 0.
absl::StatusOr<double> FrechetDistance(const Gaussian& a, const Gaussian& b);

// Shares of points, by balls around points that reach their k-th nearest neighbour of the same set. Improved precision
// and recall (Kynkaanniemi et al., arXiv 1904.06991): generated points in some real point's ball, and real points in
// some generated point's. Density and coverage (Naeem et al., arXiv 2002.09797, equations 3 and 4), which one stray
// point cannot inflate: how many real balls a generated point lies in, divided by k; and real points whose ball holds a
// generated point.
struct Prdc {
  double precision = 0, recall = 0;  // 0 to 1
  double density = 0;                // 0 or more; about 1 for equal distributions
  double coverage = 0;               // 0 to 1
};
// Each side needs more than k points.
absl::StatusOr<Prdc> ComputePrdc(const Features& real, const Features& generated, int k);

// ---- Nearest neighbours ---------------------------------------------------------------------------------------------

// The two reference images closest to a query image. Distances are Euclidean, over pixels in [0, 1].
struct Neighbours {
  size_t nearest = 0, second = 0;
  double nearest_distance = 0, second_distance = 0;

  // Close to 0 for a copy of one reference image; 0 also where both distances are 0.
  double ratio() const { return second_distance > 0 ? nearest_distance / second_distance : 0; }
};

// For each of N query images the two closest of M reference images, at least 2; images of kModelPixels bytes. The
// distances are exact; of references whose distances differ by less than a millionth, the further may be taken.
// CANCELLED when stop_requested said so.
struct NeighbourOptions {
  int threads = 0;                            // they share the queries; 0: one per core
  std::function<bool()> stop_requested = {};  // asked every few seconds, on the caller's thread; null: never
};
absl::StatusOr<std::vector<Neighbours>> FindNeighbours(absl::Span<const uint8_t> queries,
                                                       absl::Span<const uint8_t> references,
                                                       const NeighbourOptions& options);

// ---- Counts ---------------------------------------------------------------------------------------------------------

// K classes, of which every data set has its own number.

struct Accuracy {
  double overall = 0;            // 0 to 1
  std::vector<double> by_class;  // [K] not a number where there is no such label
  int worst_class = 0;           // the lowest of by_class
  int64_t right = 0, of = 0;     // images

  // Of the worst class; not a number where no class was read.
  double worst() const;
};
// Of `classes` against `labels`, equally many, 0 to num_classes - 1, at least one.
Accuracy ClassAccuracy(absl::Span<const uint8_t> classes, absl::Span<const uint8_t> labels, int num_classes);

// Where the lowest number stands, the first of equal ones; 0 where all are none.
int WorstClass(absl::Span<const double> by_class);

// Wilson's score interval of a share, 95 % (Wilson 1927, JASA 22): `hits` of `trials`, at least one.
struct Interval {
  double low = 0, high = 0;
};
Interval WilsonInterval(int64_t hits, int64_t trials);

using ClassCounts = std::vector<int>;  // [K] images of each class
ClassCounts CountClasses(absl::Span<const uint8_t> labels, int num_classes);

// `count` shared out in the proportions of `histogram`, the largest remainders rounded up (ties: the lower class).
ClassCounts InProportion(const ClassCounts& histogram, int count);

// Of bytes, in units of 255.
struct PixelStatistics {
  double mean = 0;
  double standard_deviation = 0;
  double black = 0;  // share of pixels that are exactly 0, as most of MNIST's are
};
PixelStatistics ComputePixelStatistics(absl::Span<const uint8_t> pixels);

// The value below which a share `q` (0 to 1) lies, interpolated linearly between neighbours. Not a number for none.
double Quantile(std::vector<double> values, double q);

}  // namespace denoised

#endif  // DENOISED_TRAINER_JUDGES_FIGURES_H_
