// File: seeds.h
//
// The same evaluation with several seeds: each figure's mean and standard deviation, which a single run cannot have.
//
//   std::vector<EvaluationReport> seeds = ...;   // of one checkpoint and sampler, differing in the seed
//   std::fputs(FormatSeeds(seeds).c_str(), stdout);
//
// Pure and thread-safe. At least one report everywhere.
#ifndef DENOISED_TRAINER_EVALUATION_SEEDS_H_
#define DENOISED_TRAINER_EVALUATION_SEEDS_H_

#include <functional>
#include <string>
#include <vector>

#include "trainer/evaluation/evaluation_report.h"

namespace denoised {

using Figure = std::function<double(const EvaluationReport&)>;

Spread OverSeeds(const std::vector<EvaluationReport>& seeds, const Figure& figure);

// Of all seeds' images together.
Accuracy PooledAccuracy(const std::vector<EvaluationReport>& seeds);

// "1.52 +- 0.04", or "1.52" for one seed.
std::string MeanAndDeviation(const Spread& spread, int digits);

// A table of at most 100 columns.
std::string FormatSeeds(const std::vector<EvaluationReport>& seeds);

// Pretty-printed, keys in a fixed order: every figure's values, mean and standard deviation.
std::string SeedsToJson(const std::vector<EvaluationReport>& seeds);

}  // namespace denoised

#endif  // DENOISED_TRAINER_EVALUATION_SEEDS_H_
