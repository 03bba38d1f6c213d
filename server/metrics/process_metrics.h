// File: process_metrics.h
//
// The `process_` metrics that Prometheus' own client libraries export, read from /proc. Thread-safe.
#ifndef DENOISED_SERVER_METRICS_PROCESS_METRICS_H_
#define DENOISED_SERVER_METRICS_PROCESS_METRICS_H_

#include <prometheus/metric_family.h>

#include <vector>

namespace denoised {

// CPU seconds, memory, file descriptors and start time of this process. What /proc does not tell is left out.
std::vector<prometheus::MetricFamily> CollectProcessMetrics();

}  // namespace denoised

#endif  // DENOISED_SERVER_METRICS_PROCESS_METRICS_H_
