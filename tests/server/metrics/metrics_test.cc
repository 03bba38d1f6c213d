#include "server/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <functional>
#include <locale>
#include <map>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "server/metrics/metrics_endpoint.h"
#include "tests/testing/http_client.h"
#include "tests/testing/sanitizers.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// What dashboards and alerts rest on: a change here breaks somebody's.
const std::set<std::string> kGoldenNames = {
    "counter denoised_connections_cut_total",
    "counter denoised_connections_refused_total",
    "counter denoised_drain_dropped_images_total",
    "counter denoised_engine_troubles_total",
    "counter denoised_images_total",
    "counter denoised_log_lines_lost_total",
    "counter denoised_loopback_probes_total",
    "counter denoised_model_reloads_total",
    "counter denoised_network_seconds_total",
    "counter denoised_padding_rows_total",
    "counter denoised_previews_dropped_total",
    "counter denoised_rejected_total",
    "counter denoised_spans_total",
    "counter denoised_steps_total",
    "counter denoised_wasted_steps_total",
    "counter grpc_server_handled_total",
    "counter grpc_server_started_total",
    "counter process_cpu_seconds_total",
    "gauge denoised_build_info",
    "gauge denoised_connections",
    "gauge denoised_model_info",
    "gauge denoised_output_bytes",
    "gauge denoised_queue_depth",
    "gauge denoised_queue_oldest_seconds",
    "gauge denoised_requests_in_flight",
    "gauge denoised_step_rows",
    "gauge denoised_tls_certificate_expiry_seconds",
    "gauge process_max_fds",
    "gauge process_open_fds",
    "gauge process_resident_memory_bytes",
    "gauge process_start_time_seconds",
    "gauge process_virtual_memory_bytes",
    "histogram denoised_batch_rows",
    "histogram denoised_denoise_seconds",
    "histogram denoised_queue_wait_seconds",
    "histogram denoised_step_seconds",
    "histogram denoised_time_to_first_preview_seconds",
    "histogram grpc_server_handling_seconds",
};

ModelLabels TestModel(const std::string& version) {
  return {.version = version, .sha256 = "0123", .architecture = "compact", .device = "cuda:0"};
}

// "<type> <name>" of every family on the page.
std::set<std::string> FamilyNames(const std::string& page) {
  std::set<std::string> names;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string hash, keyword, name, type;
    if (words >> hash >> keyword >> name >> type && hash == "#" && keyword == "TYPE") {
      names.insert(absl::StrCat(type, " ", name));
    }
  }
  return names;
}

TEST(MetricsTest, NamesAndTypesAreTheGoldenOnes) {
  Metrics metrics;
  metrics.SetModel(TestModel("aaaaaaaaaaaa"));
  metrics.SetCertificateExpiry(std::chrono::system_clock::now());
  const Metrics::Call call{"unary", "denoised.v1.DigitService", "GetModel"};
  metrics.OnCallStarted(call);
  metrics.OnCallFinished(call, "OK", milliseconds(3));
  EXPECT_EQ(FamilyNames(metrics.Scrape()), kGoldenNames);
}

// docs/operations.md tells of each what it means when it is bad.
TEST(MetricsTest, EachIsExplained) {
  const std::string guide = Slurp(DENOISED_SOURCE_DIR "/docs/operations.md");
  for (const std::string& family : kGoldenNames) {
    const std::string name = family.substr(family.find(' ') + 1);
    EXPECT_THAT(guide, HasSubstr(absl::StrCat("`", name, "`")));
  }
  const std::regex named("`((?:denoised|grpc|process)_[a-z_]+)`");
  for (std::sregex_iterator match(guide.begin(), guide.end(), named), end; match != end; ++match) {
    const std::string name = (*match)[1].str();
    EXPECT_TRUE(std::any_of(kGoldenNames.begin(), kGoldenNames.end(), [&name](const std::string& family) {
      return family.ends_with(absl::StrCat(" ", name));
    })) << name;
  }
}

// "name{labels}" of every series of a family, in order.
std::vector<std::string> SeriesOf(const std::string& page, const std::string& family) {
  std::vector<std::string> series;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(family + "{", 0) == 0) series.push_back(line);
  }
  std::sort(series.begin(), series.end());
  return series;
}

// rate() does not see the event that a series begins with.
TEST(MetricsTest, SeriesOfClosedSetsAreThereBeforeTheirFirstEvent) {
  const std::string page = Metrics().Scrape();
  EXPECT_THAT(
      SeriesOf(page, "denoised_rejected_total"),
      ElementsAre("denoised_rejected_total{reason=\"client_full\"} 0", "denoised_rejected_total{reason=\"deadline\"} 0",
                  "denoised_rejected_total{reason=\"draining\"} 0",
                  "denoised_rejected_total{reason=\"queue_full\"} 0"));
  EXPECT_THAT(SeriesOf(page, "denoised_wasted_steps_total"),
              ElementsAre("denoised_wasted_steps_total{reason=\"cancelled\"} 0",
                          "denoised_wasted_steps_total{reason=\"deadline\"} 0",
                          "denoised_wasted_steps_total{reason=\"draining\"} 0",
                          "denoised_wasted_steps_total{reason=\"engine_error\"} 0",
                          "denoised_wasted_steps_total{reason=\"slow_reader\"} 0"));
  EXPECT_THAT(SeriesOf(page, "denoised_images_total"),
              ElementsAre("denoised_images_total{sampler=\"ddim\"} 0", "denoised_images_total{sampler=\"ddpm\"} 0",
                          "denoised_images_total{sampler=\"dpm_solver_pp_2m\"} 0"));
  EXPECT_THAT(
      SeriesOf(page, "denoised_model_reloads_total"),
      ElementsAre("denoised_model_reloads_total{result=\"error\"} 0", "denoised_model_reloads_total{result=\"ok\"} 0",
                  "denoised_model_reloads_total{result=\"rolled_back\"} 0"));
  EXPECT_THAT(SeriesOf(page, "denoised_engine_troubles_total"),
              ElementsAre("denoised_engine_troubles_total{cause=\"failing\"} 0",
                          "denoised_engine_troubles_total{cause=\"stalled\"} 0"));
  EXPECT_THAT(SeriesOf(page, "denoised_spans_total"),
              ElementsAre("denoised_spans_total{result=\"exported\"} 0", "denoised_spans_total{result=\"failed\"} 0",
                          "denoised_spans_total{result=\"queue_full\"} 0"));
  EXPECT_THAT(SeriesOf(page, "denoised_loopback_probes_total"),
              ElementsAre("denoised_loopback_probes_total{result=\"error\"} 0",
                          "denoised_loopback_probes_total{result=\"ok\"} 0"));
}

TEST(MetricsTest, DeclaredCallsAreThereBeforeTheFirstOne) {
  Metrics metrics;
  metrics.DeclareCall({"unary", "a.Service", "Method"}, {"OK", "Internal"});
  const std::string page = metrics.Scrape();
  EXPECT_THAT(
      SeriesOf(page, "grpc_server_handled_total"),
      ElementsAre(
          R"(grpc_server_handled_total{grpc_code="Internal",grpc_method="Method",grpc_service="a.Service",grpc_type="unary"} 0)",
          R"(grpc_server_handled_total{grpc_code="OK",grpc_method="Method",grpc_service="a.Service",grpc_type="unary"} 0)"));
  EXPECT_THAT(
      SeriesOf(page, "grpc_server_started_total"),
      ElementsAre(R"(grpc_server_started_total{grpc_method="Method",grpc_service="a.Service",grpc_type="unary"} 0)"));
  EXPECT_THAT(
      SeriesOf(page, "grpc_server_handling_seconds_count"),
      ElementsAre(
          R"(grpc_server_handling_seconds_count{grpc_method="Method",grpc_service="a.Service",grpc_type="unary"} 0)"));
}

TEST(MetricsTest, WorkIsCounted) {
  Metrics metrics;
  metrics.OnStep(/*rows=*/3, /*padding_rows=*/1, milliseconds(20), milliseconds(15));
  metrics.OnStep(/*rows=*/1, /*padding_rows=*/0, milliseconds(10), milliseconds(5));
  metrics.OnImageFinished(SamplerType::kDdim, milliseconds(400));
  metrics.OnRejected(DropReason::kQueueFull);
  metrics.OnWasted(DropReason::kCancelled, 12);
  metrics.OnPreviewDropped();
  metrics.OnModelReload("ok");
  const std::string page = metrics.Scrape();
  EXPECT_THAT(page, HasSubstr("\ndenoised_steps_total 2\n"));
  EXPECT_THAT(page, HasSubstr("\ndenoised_network_seconds_total 0.02\n"));
  EXPECT_THAT(page, HasSubstr("\ndenoised_padding_rows_total 1\n"));
  EXPECT_THAT(page, HasSubstr("\ndenoised_batch_rows_sum 4\n"));
  EXPECT_THAT(page, HasSubstr("\ndenoised_step_seconds_bucket{le=\"0.01\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("\ndenoised_images_total{sampler=\"ddim\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("\ndenoised_images_total{sampler=\"ddpm\"} 0\n"));
  EXPECT_THAT(page, HasSubstr("\ndenoised_denoise_seconds_count{sampler=\"ddim\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("\ndenoised_denoise_seconds_sum{sampler=\"ddim\"} 0.4\n"));
  EXPECT_THAT(page, HasSubstr("\ndenoised_rejected_total{reason=\"queue_full\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("\ndenoised_wasted_steps_total{reason=\"cancelled\"} 12\n"));
  EXPECT_THAT(page, HasSubstr("\ndenoised_previews_dropped_total 1\n"));
  EXPECT_THAT(page, HasSubstr("\ndenoised_model_reloads_total{result=\"ok\"} 1\n"));
}

// A German program writes 2,5 for 2.5, and 1.000 for 1000.
class GermanNumbers : public std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

TEST(MetricsTest, APageIsTheSameInAGermanLocale) {
  Metrics metrics;
  metrics.SetStatsSource([] { return SchedulerStats{.waiting_images = 1000, .oldest_wait = milliseconds(2500)}; });
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new GermanNumbers));
  const std::string page = metrics.Scrape();
  std::locale::global(before);
  EXPECT_THAT(page, HasSubstr("\ndenoised_queue_depth 1000\n"));
  EXPECT_THAT(page, HasSubstr("\ndenoised_queue_oldest_seconds 2.5\n"));
}

TEST(MetricsTest, CertificatesEndIsToldWhereThereIsOne) {
  Metrics metrics;
  const std::string name = "\ndenoised_tls_certificate_expiry_seconds ";
  EXPECT_THAT(metrics.Scrape(), Not(HasSubstr(name)));
  metrics.SetCertificateExpiry(std::chrono::system_clock::now() - std::chrono::hours(1));
  EXPECT_THAT(metrics.Scrape(), HasSubstr(name + "-36"));  // and a few seconds
}

TEST(MetricsTest, QueueGaugesAreReadAtTheScrape) {
  Metrics metrics;
  metrics.SetStatsSource(
      [] { return SchedulerStats{.waiting_images = 5, .denoising_images = 2, .oldest_wait = milliseconds(2500)}; });
  const std::string page = metrics.Scrape();
  EXPECT_THAT(page, HasSubstr("\ndenoised_queue_depth 5\n"));
  EXPECT_THAT(page, HasSubstr("\ndenoised_queue_oldest_seconds 2.5\n"));
}

TEST(MetricsTest, OnlyTheCurrentModelIsShown) {
  Metrics metrics;
  metrics.SetModel(TestModel("aaaaaaaaaaaa"));
  metrics.SetModel(TestModel("bbbbbbbbbbbb"));
  const std::string page = metrics.Scrape();
  EXPECT_THAT(page, HasSubstr("version=\"bbbbbbbbbbbb\""));
  EXPECT_THAT(page, HasSubstr("device=\"cuda:0\""));
  EXPECT_THAT(page, Not(HasSubstr("aaaaaaaaaaaa")));
}

TEST(MetricsTest, ProcessFiguresAreSane) {
  Metrics metrics;
  const std::string page = metrics.Scrape();
  const auto value = [&page](const std::string& name) {
    const size_t at = page.find("\n" + name + " ");
    EXPECT_NE(at, std::string::npos) << name;
    return at == std::string::npos ? 0.0 : std::stod(page.substr(at + name.size() + 2));
  };
  EXPECT_GT(value("process_resident_memory_bytes"), 1e6);
  EXPECT_GE(value("process_virtual_memory_bytes"), value("process_resident_memory_bytes"));
  EXPECT_GE(value("process_open_fds"), 3);
  EXPECT_GT(value("process_start_time_seconds"), 1.6e9);
}

// With all descriptors taken the page is what tells so.
// As Prometheus' histogram_quantile does it: linear within the bucket.
double QuantileOf(const std::string& page, const std::string& histogram, double quantile) {
  std::vector<std::pair<double, double>> buckets;
  const std::string prefix = histogram + "_bucket{le=\"";
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(prefix, 0) != 0 || line.find("+Inf") != std::string::npos) continue;
    buckets.emplace_back(std::stod(line.substr(prefix.size())), std::stod(line.substr(line.find("} ") + 2)));
  }
  const double rank = quantile * buckets.back().second;
  const auto found = std::find_if(buckets.begin(), buckets.end(), [&](const auto& b) { return b.second >= rank; });
  const double low = found == buckets.begin() ? 0 : std::prev(found)->first;
  const double before = found == buckets.begin() ? 0 : std::prev(found)->second;
  return low + (found->first - low) * (rank - before) / (found->second - before);
}

TEST(MetricsTest, QuantilesAreRightWithinFivePercent) {
  std::mt19937 random(1);
  const std::map<std::string, std::function<double()>> waits = {
      {"always the same, just above a boundary", [] { return 1.0001; }},
      {"always the same, just below a boundary", [] { return 0.9999; }},
      {"exponential", [&] { return std::exponential_distribution<double>(1 / 0.3)(random); }},
      {"log-normal", [&] { return std::lognormal_distribution<double>(-3, 1)(random); }},
      {"two kinds", [&] { return random() % 50 == 0 ? 90.0 : 0.02; }},
  };
  for (const auto& [name, draw] : waits) {
    Metrics metrics;
    std::vector<double> values(5000);
    for (double& value : values) {
      value = draw();
      metrics.OnImageStarted(std::chrono::nanoseconds(static_cast<int64_t>(value * 1e9)));
    }
    std::sort(values.begin(), values.end());
    for (const double quantile : {0.5, 0.95, 0.99}) {
      const double truth = values[static_cast<size_t>(quantile * 5000) - 1];
      EXPECT_NEAR(QuantileOf(metrics.Scrape(), "denoised_queue_wait_seconds", quantile) / truth, 1, 0.05)
          << name << ", " << quantile;
    }
  }
}

TEST(MetricsTest, ProcessFiguresAreThereWithoutADescriptor) {
  DENOISED_SKIP_WITHOUT_SPARE_DESCRIPTORS();
  Metrics metrics;
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none = {.rlim_cur = 0, .rlim_max = limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const std::string page = metrics.Scrape();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_THAT(page, HasSubstr("\nprocess_resident_memory_bytes "));
  EXPECT_THAT(page, HasSubstr("\nprocess_cpu_seconds_total "));
  EXPECT_THAT(page, HasSubstr("\nprocess_start_time_seconds "));
  EXPECT_THAT(page, HasSubstr("\nprocess_max_fds 0\n"));
  EXPECT_THAT(page, HasSubstr("\nprocess_open_fds 0\n")) << "as many as may be open";
}

TEST(MetricsEndpointTest, ServesMetricsAndHealth) {
  Metrics metrics;
  bool healthy = false;
  const auto endpoint = MetricsEndpoint::Start(
      "127.0.0.1", 0, [&] { return metrics.Scrape(); }, [&] { return healthy; });
  ASSERT_THAT(endpoint, IsOk());
  const int port = (*endpoint)->port();
  EXPECT_EQ(HttpGet(port, "/healthz").status, 503);
  EXPECT_EQ(HttpGet(port, "/healthz").body, "not serving\n");
  healthy = true;
  EXPECT_EQ(HttpGet(port, "/healthz").status, 200);
  EXPECT_EQ(HttpGet(port, "/nothing").status, 404);
}

// Prometheus 3 refuses a page whose type has no version.
TEST(MetricsEndpointTest, APageHasItsTypeWithVersion) {
  Metrics metrics;
  const auto endpoint = MetricsEndpoint::Start(
      "127.0.0.1", 0, [&] { return metrics.Scrape(); }, [] { return true; });
  ASSERT_THAT(endpoint, IsOk());
  const HttpAnswer page = HttpGet((*endpoint)->port(), "/metrics");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.header("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(page.header("Content-Length"), std::to_string(page.body.size()));
  EXPECT_THAT(page.body, HasSubstr("# TYPE denoised_steps_total counter"));
}

TEST(MetricsEndpointTest, HeadTellsWhatGetWouldGive) {
  const auto endpoint = MetricsEndpoint::Start(
      "127.0.0.1", 0, [] { return std::string("page"); }, [] { return true; });
  ASSERT_THAT(endpoint, IsOk());
  const HttpAnswer head = HttpGet((*endpoint)->port(), "/metrics", "127.0.0.1", "HEAD");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.header("Content-Length"), "4");
  EXPECT_EQ(head.body, "");
}

TEST(MetricsEndpointTest, AScrapeDoesNotHoldUpAProbe) {
  absl::Notification probed;
  const auto endpoint = MetricsEndpoint::Start(
      "127.0.0.1", 0,
      [&] {
        probed.WaitForNotification();
        return std::string("page");
      },
      [] { return true; });
  ASSERT_THAT(endpoint, IsOk());
  const int port = (*endpoint)->port();
  HttpConnection scraper(port);
  ASSERT_TRUE(scraper.Send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  EXPECT_EQ(HttpGet(port, "/healthz").status, 200);
  probed.Notify();
  EXPECT_EQ(scraper.Receive().body, "page");
}

TEST(MetricsEndpointTest, OccupiedPortIsSaid) {
  const auto none = [] { return std::string(); };
  const auto yes = [] { return true; };
  const auto first = MetricsEndpoint::Start("127.0.0.1", 0, none, yes);
  ASSERT_THAT(first, IsOk());
  const std::string port = std::to_string((*first)->port());
  EXPECT_THAT(MetricsEndpoint::Start("127.0.0.1", (*first)->port(), none, yes),
              StatusIs(absl::StatusCode::kUnavailable,
                       "cannot listen on 127.0.0.1:" + port +
                           ": the port is taken, or the address is not this machine's; choose another with "
                           "--metrics_listen"));
}

}  // namespace
}  // namespace denoised
