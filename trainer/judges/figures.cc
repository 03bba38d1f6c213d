#include "trainer/judges/figures.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/checkpoint/torch_error.h"
#include "common/checkpoint/torch_threads.h"
#include "common/image/image.h"
#include "common/support/available_cores.h"
#include "common/support/status_macros.h"
#include "common/support/worker_pool.h"

namespace denoised {
namespace {

// What `compute` returns, or what LibTorch threw as a status.
template <typename Compute>
absl::StatusOr<std::invoke_result_t<Compute>> Guarded(Compute&& compute) {
  try {
    const c10::InferenceMode inference;
    return compute();
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("a figure cannot be computed: ", TorchErrorText(e)));
  }
}

std::vector<double> ToVector(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.contiguous();
  return std::vector<double>(plain.data_ptr<double>(), plain.data_ptr<double>() + plain.numel());
}

// [N,D] in double precision.
at::Tensor ToTensor(const Features& features) {
  return torch::from_blob(const_cast<float*>(features.values.data()),
                          {static_cast<int64_t>(features.size()), static_cast<int64_t>(features.dim)}, torch::kFloat32)
      .to(torch::kFloat64);
}

// [D,D], symmetric. The values are a view.
at::Tensor CovarianceOf(const Gaussian& gaussian) {
  const auto dim = static_cast<int64_t>(gaussian.mean.size());
  return torch::from_blob(const_cast<double*>(gaussian.covariance.data()), {dim, dim}, torch::kFloat64);
}

// The square root of a symmetric matrix without negative eigenvalues, but for rounding.
at::Tensor SquareRoot(const at::Tensor& matrix) {
  const auto [values, vectors] = torch::linalg_eigh(matrix);
  return vectors.mm(torch::diag(values.clamp_min(0).sqrt())).mm(vectors.t());
}

// ---- Precision, recall, density and coverage ------------------------------------------------------------------------

// Rows of a distance matrix that are in memory at once.
constexpr int64_t kDistanceRows = 1000;

// [N] each point's distance to its k-th nearest other point. The point itself is the nearest of all.
at::Tensor Radii(const at::Tensor& points, int k) {
  std::vector<at::Tensor> radii;
  for (const at::Tensor& rows : points.split(kDistanceRows)) {
    radii.push_back(std::get<0>(torch::cdist(rows, points).kthvalue(k + 1, /*dim=*/1)));
  }
  return torch::cat(radii);
}

// real [N,D], generated [M,D]; each side's radii.
Prdc CountWithinBalls(const at::Tensor& real, const at::Tensor& real_radii, const at::Tensor& generated,
                      const at::Tensor& generated_radii, int k) {
  const auto share = [](const at::Tensor& hits) { return hits.to(torch::kFloat64).mean().item<double>(); };
  at::Tensor recalled = torch::zeros({real.size(0)}, torch::kBool), covered = recalled.clone();
  int64_t inside_some = 0, pairs = 0;
  for (int64_t begin = 0; begin < generated.size(0); begin += kDistanceRows) {
    const int64_t end = std::min(generated.size(0), begin + kDistanceRows);
    const at::Tensor distances = torch::cdist(generated.slice(0, begin, end), real);  // [rows,N]
    const at::Tensor in_real_ball = distances <= real_radii;
    inside_some += in_real_ball.any(/*dim=*/1).sum().item<int64_t>();
    pairs += in_real_ball.sum().item<int64_t>();
    covered |= in_real_ball.any(/*dim=*/0);
    recalled |= (distances <= generated_radii.slice(0, begin, end).unsqueeze(1)).any(/*dim=*/0);
  }
  const auto generated_count = static_cast<double>(generated.size(0));
  return {.precision = static_cast<double>(inside_some) / generated_count,
          .recall = share(recalled),
          .density = static_cast<double>(pairs) / (k * generated_count),
          .coverage = share(covered)};
}

// ---- Nearest neighbours ---------------------------------------------------------------------------------------------

constexpr int64_t kReferenceRows = 8192, kQueryRows = 256;  // in memory at once, as distances
constexpr int64_t kCandidates = 4;  // of each block of references: two, and some for rounding's sake

// A view of images as bytes [N,kModelPixels], rows begin to end.
at::Tensor Images(absl::Span<const uint8_t> pixels, int64_t begin, int64_t end) {
  return torch::from_blob(const_cast<uint8_t*>(pixels.data()) + begin * kModelPixels, {end - begin, kModelPixels},
                          torch::kUInt8);
}

// Exact, in units of 1/255.
int64_t SquaredDistance(const uint8_t* a, const uint8_t* b) {
  int sum = 0;
  for (int i = 0; i < kModelPixels; ++i) {
    const int difference = int{a[i]} - int{b[i]};
    sum += difference * difference;
  }
  return sum;
}

// Proposes candidates by matrix products in single precision, and decides among them by exact distances.
class NeighbourSearch {
 public:
  NeighbourSearch(absl::Span<const uint8_t> queries, absl::Span<const uint8_t> references,
                  const NeighbourOptions& options)
      : stop_requested_(options.stop_requested),
        queries_(queries),
        references_(references),
        num_queries_(static_cast<int64_t>(queries.size() / kModelPixels)),
        num_references_(static_cast<int64_t>(references.size() / kModelPixels)),
        candidates_(num_queries_),
        pool_(options.threads > 0 ? options.threads : AvailableCores()) {}

  absl::StatusOr<std::vector<Neighbours>> Run() {
    for (int64_t begin = 0; begin < num_references_; begin += kReferenceRows) {
      if (stop_requested_ != nullptr && stop_requested_()) {
        return absl::CancelledError("stopped while looking for neighbours");
      }
      DENOISED_ASSIGN_OR_RETURN(const Block block, Guarded([&] { return MakeBlock(begin); }));
      DENOISED_RETURN_IF_ERROR(ForEachQueryBlock([&](int64_t first, int64_t last) { Propose(first, last, block); }));
    }
    std::vector<Neighbours> neighbours(num_queries_);
    DENOISED_RETURN_IF_ERROR(ForEachQueryBlock([&](int64_t first, int64_t last) {
      for (int64_t query = first; query < last; ++query) neighbours[query] = Decide(query);
    }));
    return neighbours;
  }

 private:
  // Some of the references.
  struct Block {
    int64_t begin = 0;
    at::Tensor transposed;  // [kModelPixels,rows]
    at::Tensor squares;     // [rows] of their lengths
  };

  Block MakeBlock(int64_t begin) const {
    const int64_t end = std::min(num_references_, begin + kReferenceRows);
    const at::Tensor rows = Images(references_, begin, end).to(torch::kFloat32);
    return {.begin = begin, .transposed = rows.t(), .squares = rows.square().sum(1)};
  }

  template <typename Work>
  absl::Status ForEachQueryBlock(const Work& work) {
    std::vector<absl::Status> results(pool_.size());
    pool_.Run(pool_.size(), [&](int worker) {
      const auto share = Guarded([&] {
        ComputeOnThisThreadAlone();
        for (int64_t i = worker * kQueryRows; i < num_queries_; i += pool_.size() * kQueryRows) {
          work(i, std::min(num_queries_, i + kQueryRows));
        }
        return true;
      });
      results[worker] = share.status();
    });
    for (const absl::Status& result : results) DENOISED_RETURN_IF_ERROR(result);
    return absl::OkStatus();
  }

  // |q|^2 is the same for all references, so it is left out: |r|^2 - 2 q.r has the same order.
  void Propose(int64_t first, int64_t last, const Block& block) {
    const at::Tensor queries = Images(queries_, first, last).to(torch::kFloat32);
    const at::Tensor order = torch::addmm(block.squares, queries, block.transposed, /*beta=*/1, /*alpha=*/-2);
    const int64_t k = std::min(kCandidates, order.size(1));
    const at::Tensor best = std::get<1>(order.topk(k, /*dim=*/1, /*largest=*/false, /*sorted=*/false)).contiguous();
    for (int64_t query = first; query < last; ++query) {
      const int64_t* row = best.data_ptr<int64_t>() + (query - first) * k;
      for (int64_t i = 0; i < k; ++i) candidates_[query].push_back(block.begin + row[i]);
    }
  }

  Neighbours Decide(int64_t query) const {
    std::vector<std::pair<int64_t, int64_t>> found;  // distance, index
    for (const int64_t index : candidates_[query]) {
      found.emplace_back(
          SquaredDistance(queries_.data() + query * kModelPixels, references_.data() + index * kModelPixels), index);
    }
    std::partial_sort(found.begin(), found.begin() + 2, found.end());
    const auto distance = [](int64_t squared) { return std::sqrt(static_cast<double>(squared)) / 255; };
    return {.nearest = static_cast<size_t>(found[0].second),
            .second = static_cast<size_t>(found[1].second),
            .nearest_distance = distance(found[0].first),
            .second_distance = distance(found[1].first)};
  }

  const std::function<bool()> stop_requested_;
  const absl::Span<const uint8_t> queries_, references_;
  const int64_t num_queries_, num_references_;
  std::vector<std::vector<int64_t>> candidates_;
  WorkerPool pool_;
};

}  // namespace

Features Select(const Features& features, absl::Span<const size_t> indices) {
  Features selected{.dim = features.dim, .values = {}};
  selected.values.reserve(indices.size() * features.dim);
  for (const size_t index : indices) {
    const auto begin = features.values.begin() + static_cast<std::ptrdiff_t>(index * features.dim);
    selected.values.insert(selected.values.end(), begin, begin + static_cast<std::ptrdiff_t>(features.dim));
  }
  return selected;
}

absl::StatusOr<Gaussian> FitGaussian(const Features& features) {
  if (features.size() < 2) {
    return absl::InvalidArgumentError(absl::StrCat("a covariance needs at least 2 points, got ", features.size()));
  }
  return Guarded([&] {
    const at::Tensor points = ToTensor(features);
    const at::Tensor mean = points.mean(0);
    const at::Tensor centred = points - mean;
    const at::Tensor covariance = centred.t().mm(centred) / static_cast<double>(features.size() - 1);
    return Gaussian{.mean = ToVector(mean), .covariance = ToVector(covariance)};
  });
}

absl::StatusOr<double> FrechetDistance(const Gaussian& a, const Gaussian& b) {
  if (a.mean.size() != b.mean.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("features of ", a.mean.size(), " and ", b.mean.size(), " numbers cannot be compared"));
  }
  return Guarded([&] {
    double distance = 0;
    for (size_t i = 0; i < a.mean.size(); ++i) distance += (a.mean[i] - b.mean[i]) * (a.mean[i] - b.mean[i]);
    const at::Tensor root = SquareRoot(CovarianceOf(a));
    const at::Tensor product = root.mm(CovarianceOf(b)).mm(root);
    const at::Tensor values = std::get<0>(torch::linalg_eigh((product + product.t()) / 2));
    const at::Tensor traces = CovarianceOf(a).trace() + CovarianceOf(b).trace();
    distance += (traces - 2 * values.clamp_min(0).sqrt().sum()).item<double>();
    return std::max(0.0, distance);  // rounding
  });
}

absl::StatusOr<Prdc> ComputePrdc(const Features& real, const Features& generated, int k) {
  if (real.dim != generated.dim || k < 1 || std::min(real.size(), generated.size()) <= static_cast<size_t>(k)) {
    return absl::InvalidArgumentError(absl::StrCat("precision and recall need more than ", k,
                                                   " points of one kind on each side, got ", real.size(), " of ",
                                                   real.dim, " numbers and ", generated.size(), " of ", generated.dim));
  }
  return Guarded([&] {
    const at::Tensor r = ToTensor(real), g = ToTensor(generated);
    return CountWithinBalls(r, Radii(r, k), g, Radii(g, k), k);
  });
}

absl::StatusOr<std::vector<Neighbours>> FindNeighbours(absl::Span<const uint8_t> queries,
                                                       absl::Span<const uint8_t> references,
                                                       const NeighbourOptions& options) {
  if (references.size() < size_t{2} * kModelPixels) {
    return absl::InvalidArgumentError("nearest neighbours need at least 2 reference images");
  }
  return NeighbourSearch(queries, references, options).Run();
}

double Accuracy::worst() const {
  return by_class.empty() ? std::numeric_limits<double>::quiet_NaN() : by_class[worst_class];
}

Accuracy ClassAccuracy(absl::Span<const uint8_t> classes, absl::Span<const uint8_t> labels, int num_classes) {
  ClassCounts right(num_classes);
  for (size_t i = 0; i < labels.size(); ++i) right[labels[i]] += classes[i] == labels[i] ? 1 : 0;
  const ClassCounts all = CountClasses(labels, num_classes);
  Accuracy accuracy;
  accuracy.right = std::accumulate(right.begin(), right.end(), int64_t{0});
  accuracy.of = std::accumulate(all.begin(), all.end(), int64_t{0});
  accuracy.overall = static_cast<double>(accuracy.right) / static_cast<double>(accuracy.of);
  for (int i = 0; i < num_classes; ++i) accuracy.by_class.push_back(static_cast<double>(right[i]) / all[i]);
  accuracy.worst_class = WorstClass(accuracy.by_class);
  return accuracy;
}

int WorstClass(absl::Span<const double> by_class) {
  int worst = 0;
  double lowest = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < by_class.size(); ++i) {
    if (!(by_class[i] < lowest)) continue;  // not a number, too
    lowest = by_class[i];
    worst = static_cast<int>(i);
  }
  return worst;
}

Interval WilsonInterval(int64_t hits, int64_t trials) {
  constexpr double kZ = 1.959964;  // of a normal distribution, 95 % lie within so many standard deviations
  const auto n = static_cast<double>(trials);
  const double share = static_cast<double>(hits) / n, z2n = kZ * kZ / n;
  const double centre = share + z2n / 2, reach = kZ * std::sqrt(share * (1 - share) / n + z2n / (4 * n));
  return {.low = std::max(0.0, (centre - reach) / (1 + z2n)), .high = std::min(1.0, (centre + reach) / (1 + z2n))};
}

ClassCounts CountClasses(absl::Span<const uint8_t> labels, int num_classes) {
  ClassCounts counts(num_classes);
  for (const uint8_t label : labels) ++counts[label];
  return counts;
}

ClassCounts InProportion(const ClassCounts& histogram, int count) {
  const int64_t total = std::accumulate(histogram.begin(), histogram.end(), int64_t{0});
  ClassCounts shares(histogram.size());
  if (total == 0) return shares;
  std::vector<std::pair<int64_t, size_t>> remainders;  // negative, class: sorts as wanted
  for (size_t i = 0; i < histogram.size(); ++i) {
    const int64_t exact = int64_t{count} * histogram[i];
    shares[i] = static_cast<int>(exact / total);
    remainders.emplace_back(-(exact % total), i);
  }
  std::sort(remainders.begin(), remainders.end());
  const int left = count - std::accumulate(shares.begin(), shares.end(), 0);
  for (int i = 0; i < left; ++i) ++shares[remainders[i].second];
  return shares;
}

PixelStatistics ComputePixelStatistics(absl::Span<const uint8_t> pixels) {
  int64_t sum = 0, squares = 0, black = 0;
  for (const int64_t pixel : pixels) {
    sum += pixel;
    squares += pixel * pixel;
    black += pixel == 0 ? 1 : 0;
  }
  const auto count = static_cast<double>(pixels.size());
  const double mean = static_cast<double>(sum) / count;
  return {.mean = mean / 255,
          .standard_deviation = std::sqrt(std::max(0.0, static_cast<double>(squares) / count - mean * mean)) / 255,
          .black = static_cast<double>(black) / count};
}

double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::sort(values.begin(), values.end());
  const double position = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (position - static_cast<double>(below)) * (values[above] - values[below]);
}

}  // namespace denoised
