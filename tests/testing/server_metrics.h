// File: server_metrics.h
//
// What a server counts, from its metrics page.
//
//   ServerMetrics metrics(port);
//   metrics.Get("denoised_requests_in_flight");
//   metrics.Get("grpc_server_handled_total", "grpc_code=\"INTERNAL\"");
#ifndef DENOISED_TESTS_TESTING_SERVER_METRICS_H_
#define DENOISED_TESTS_TESTING_SERVER_METRICS_H_

#include <stdexcept>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/testing/http_client.h"

namespace denoised {

class ServerMetrics {
 public:
  explicit ServerMetrics(int port) : port_(port) {}

  // As things stand now: the sum over all lines of this metric that have `label`; 0 where there is none.
  double Get(const std::string& name, const std::string& label = "") const {
    const HttpAnswer page = HttpGet(port_, "/metrics");
    if (page.status != 200) throw std::runtime_error("the server does not show its metrics");
    double sum = 0;
    for (const absl::string_view line : absl::StrSplit(page.body, '\n')) {
      const size_t end = line.find_first_of("{ ");
      double value = 0;
      if (line.substr(0, end) != name || !absl::StrContains(line, label)) continue;
      if (absl::SimpleAtod(line.substr(line.rfind(' ') + 1), &value)) sum += value;
    }
    return sum;
  }

 private:
  int port_;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_SERVER_METRICS_H_
