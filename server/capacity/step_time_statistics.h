// File: step_time_statistics.h
//
// What is made of the times of steps that were measured on a machine which may have done other things besides.
//
//   if (Scatter(times) > kSteadyScatter) ...   // measure longer
//
// Pure and thread-safe.
#ifndef DENOISED_SERVER_CAPACITY_STEP_TIME_STATISTICS_H_
#define DENOISED_SERVER_CAPACITY_STEP_TIME_STATISTICS_H_

#include <optional>
#include <string>
#include <vector>

namespace denoised {

// Times of a machine that does nothing else scatter less.
inline constexpr double kSteadyScatter = 0.15;

// How far times of the same step lie apart: what is between the first quartile and the third, as a share of the first,
// for the number of rows where that is worst. `ascending` times by rows, at least one each.
double Scatter(const std::vector<std::vector<double>>& ascending);

// The nearest times, by least squares, in which more rows never take less: what is left of chance is evened out.
std::vector<double> MakeMonotonic(const std::vector<double>& seconds);

// What to say of times that scatter so much; none if they do not.
std::optional<std::string> WarnOfScatter(double scatter);

}  // namespace denoised

#endif  // DENOISED_SERVER_CAPACITY_STEP_TIME_STATISTICS_H_
