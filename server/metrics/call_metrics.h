// File: call_metrics.h
//
// Counts and times every call of every service, reflection and health included, by a gRPC interceptor.
//
//   DeclareCallMetrics({"denoised.v1.DigitService"}, metrics);
//   builder.experimental().SetInterceptorCreators({CallMetricsInterceptor(services, metrics), ...});
#ifndef DENOISED_SERVER_METRICS_CALL_METRICS_H_
#define DENOISED_SERVER_METRICS_CALL_METRICS_H_

#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <string>
#include <vector>

#include "server/metrics/metrics.h"

namespace denoised {

// Paths that are no method of these services are one, "unknown", or else strangers could make up as many time series as
// they like. `metrics` outlives the server.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> CallMetricsInterceptor(
    const std::vector<std::string>& services, Metrics& metrics);

// Makes the series of each method of these services exist, at zero, with each of gRPC's codes; the names are full ones
// of services whose code is linked, or nothing happens. Thread-safe.
void DeclareCallMetrics(const std::vector<std::string>& services, Metrics& metrics);

// "OK", "DeadlineExceeded", "Canceled": codes as the gRPC ecosystem's metrics write them.
std::string StatusCodeLabel(grpc::StatusCode code);

}  // namespace denoised

#endif  // DENOISED_SERVER_METRICS_CALL_METRICS_H_
