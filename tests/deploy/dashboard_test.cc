// deploy/grafana/, the rules of deploy/prometheus/ and the autoscalers' queries in deploy/kubernetes/, by a real
// Prometheus that scrapes a real server: of version 2 and, where it has been built, of version 3, which writes some
// labels otherwise.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "tests/deploy/prometheus.h"
#include "tests/end_to_end/served.h"
#include "tests/testing/test_certificates.h"

namespace denoised {
namespace {

using nlohmann::json;

// An expression of the dashboard, and the panel that shows it.
struct Target {
  std::string panel;
  std::string expression;
};

const json& Dashboard() {
  static const auto* const dashboard =
      new json(json::parse(Slurp(DENOISED_SOURCE_DIR "/deploy/grafana/dashboards/denoised.json")));
  return *dashboard;
}

// As Grafana does it, with everything chosen.
std::string WithVariables(const std::string& expression) {
  return absl::StrReplaceAll(expression, {{"$__rate_interval", "1m"}, {"$job", ".*"}, {"$instance", ".*"}});
}

std::vector<json> Panels() {
  std::vector<json> panels;
  for (const json& panel : Dashboard()["panels"]) {
    if (panel["type"] != "row") panels.push_back(panel);
  }
  return panels;
}

std::vector<Target> Targets() {
  std::vector<Target> targets;
  for (const json& panel : Panels()) {
    for (const json& target : panel["targets"]) targets.push_back({panel["title"], WithVariables(target["expr"])});
  }
  // label_values(METRIC, LABEL) is Grafana's own.
  for (const json& variable : Dashboard()["templating"]["list"]) {
    std::smatch match;
    const std::string query = variable.value("definition", "");
    if (std::regex_match(query, match, std::regex("label_values\\((.*), \\w+\\)"))) {
      targets.push_back({"variable " + variable["name"].get<std::string>(), WithVariables(match[1])});
    }
  }
  return targets;
}

// The first group of a pattern, wherever it is in a file of the tree.
std::vector<std::string> FindAll(const std::string& file, const std::string& pattern) {
  const std::string text = Slurp(std::string(DENOISED_SOURCE_DIR "/") + file);
  const std::regex regex(pattern);
  std::vector<std::string> found;
  for (std::sregex_iterator match(text.begin(), text.end(), regex), end; match != end; ++match) {
    found.push_back((*match)[1]);
  }
  return found;
}

// What prometheus-adapter asks for the figures of one pod, by its rules.
std::vector<std::string> AdapterQueries() {
  const std::string file = "deploy/kubernetes/overlays/autoscaled/prometheus_adapter.yaml";
  const std::vector<std::string> series = FindAll(file, "seriesQuery: '(\\w+)\\{"),
                                 queries = FindAll(file, "metricsQuery: '(.+)'\n");
  EXPECT_EQ(series.size(), queries.size());
  std::vector<std::string> filled;
  for (size_t i = 0; i < queries.size(); ++i) {
    filled.push_back(
        absl::StrReplaceAll(queries[i], {{"<<.Series>>", series[i]},
                                         {"<<.LabelMatchers>>", "namespace=\"digits\",pod=~\"denoised-0\""},
                                         {"<<.GroupBy>>", "pod"}}));
  }
  return filled;
}

std::vector<std::string> KedaQueries() {
  return FindAll("deploy/kubernetes/components/keda/scaled_object.yaml", "\n +query: (.+)\n");
}

// Exported, and yet not shown.
const std::map<std::string, std::string> kLeftOut = {
    {"process_virtual_memory_bytes", "LibTorch and threads reserve gigabytes that they never touch"},
};

TEST(DashboardTest, EachMetricIsInAPanelOrIsLeftOutForAReason) {
  std::string shown;
  for (const Target& target : Targets()) shown += target.expression + "\n";
  const std::vector<std::string> exported =
      FindAll("tests/server/metrics/metrics_test.cc", "\"(?:counter|gauge|histogram) (\\w+)\"");
  EXPECT_GT(exported.size(), 30u);
  for (const std::string& name : exported) {
    // Recorded series are named after what they are made of: job:NAME:p99_rate5m.
    const bool is_shown = std::regex_search(shown, std::regex("\\b" + name + "(_bucket|_sum|_count)?\\b"));
    EXPECT_NE(is_shown, kLeftOut.contains(name)) << name;
  }
  for (const auto& [name, why] : kLeftOut) EXPECT_THAT(exported, testing::Contains(name)) << "left out: " << why;
}

TEST(DashboardTest, EachPanelSaysWhatItShowsAndThatThereIsNoData) {
  std::set<int> ids;
  for (const json& panel : Panels()) {
    const std::string title = panel["title"];
    EXPECT_TRUE(ids.insert(panel["id"].get<int>()).second) << title;
    EXPECT_GT(panel["description"].get<std::string>().size(), 5u) << title;
    EXPECT_EQ(panel["fieldConfig"]["defaults"].value("noValue", ""), "no data") << title;
    EXPECT_NE(panel["fieldConfig"]["defaults"].value("unit", ""), "") << title;
    EXPECT_FALSE(panel["targets"].empty()) << title;
  }
  EXPECT_GT(ids.size(), 20u);
  for (const Target& target : Targets()) {
    EXPECT_FALSE(absl::StrContains(target.expression, "vector(0)")) << target.panel << " makes up a zero";
  }
}

// A server with all that the dashboard shows: TLS, all samplers, previews, and spans that find no collector.
class LoadedServer {
 public:
  LoadedServer() {
    const TestAuthority authority;
    const TestIdentity identity = authority.Issue("server");
    ca_ = folder_.Write("ca.pem", authority.pem());
    served_ = std::make_unique<Served>(std::vector<std::string>{
        "--tls_cert=" + folder_.Write("cert.pem", identity.cert), "--tls_key=" + folder_.Write("key.pem", identity.key),
        "--threads=1", "--otlp_endpoint=127.0.0.1:1"});
  }

  // Where its metrics are.
  std::string metrics() {
    return absl::StrReplaceAll(served_->server().AwaitLine("metrics on "), {{"http://", ""}, {"/metrics", ""}});
  }

  // A few seconds of calls.
  void Load() const {
    for (const char* sampler : {"ddpm", "dpm_solver_pp_2m"}) {
      Call({"7", "--sampler", sampler, "--steps=10", "--picture=never", "--out", folder_.File("7.png"),
            "--previews_dir", folder_.File(sampler)});
    }
    Call({"bench", "--sampler=ddim", "--steps=10", "--concurrency=3", "--warmup=0", "--duration=3"});
  }

 private:
  void Call(std::vector<std::string> command) const {
    command.insert(command.begin(), "denoise");
    const std::string address = served_->address().substr(0, served_->address().find(' '));  // "... with TLS"
    for (const std::string& option :
         {"--server=" + address, std::string("--tls"), "--tls_ca=" + ca_, std::string("--size=32")}) {
      command.push_back(option);
    }
    const ProgramResult result = RunProgram(command);
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }

  TempFolder folder_;
  std::string ca_;
  std::unique_ptr<Served> served_;
};

// METRIC{LABELS} in rules, each of which must be one that is there. Failed calls are not.
std::set<std::string> Selectors(const json& rules) {
  std::set<std::string> selectors;
  const std::regex token("[a-z_:][a-z0-9_:]*(\\{[^}]*\\})?");
  const std::regex metric("((job:|instance:)?denoised_|process_|grpc_server_|up\\{).*");
  for (const json& rule : rules) {
    const std::string query = rule["query"];
    for (std::sregex_iterator match(query.begin(), query.end(), token), end; match != end; ++match) {
      if (!std::regex_match(match->str(), metric) || absl::StrContains(match->str(), "grpc_code=~")) continue;
      selectors.insert(match->str());
    }
  }
  return selectors;
}

class MonitoringTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    path_ = Prometheus::Path(GetParam());
    if (path_.empty() && GetParam() == "3") {
      GTEST_SKIP() << "there is no Prometheus 3; scripts/setup.sh --prometheus3 builds one";
    }
    if (path_.empty()) GTEST_SKIP() << "prometheus is not installed; scripts/setup.sh --deploy installs it";
  }

  // Those without data, after waiting for it for a while. Prometheus scrapes and records each second.
  static std::vector<std::string> WithoutData(const Prometheus& prometheus, std::vector<std::string> expressions) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    while (!expressions.empty() && std::chrono::steady_clock::now() < give_up) {
      std::erase_if(expressions, [&](const std::string& expression) { return prometheus.HasData(expression); });
      if (!expressions.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(300));
    }
    return expressions;
  }

  std::string path_;
};

// Elsewhere Prometheus 3 refused pages that version 2 had read for years, and boards went blank.
TEST_P(MonitoringTest, EveryExpressionHasDataFromAServerUnderLoad) {
  LoadedServer server;
  const Prometheus prometheus(path_, server.metrics());
  ASSERT_THAT(WithoutData(prometheus, {"count_over_time(denoised_build_info[1m]) > 1"}), testing::IsEmpty());
  ASSERT_NO_FATAL_FAILURE(server.Load());

  std::vector<std::string> expressions;
  for (const Target& target : Targets()) expressions.push_back(target.expression);
  const json rules = prometheus.Rules();
  EXPECT_GT(rules.size(), 40u);
  for (const std::string& selector : Selectors(rules)) expressions.push_back(selector);
  for (const json& rule : rules) {
    if (rule["type"] == "recording") expressions.push_back(rule["name"]);
  }
  EXPECT_THAT(WithoutData(prometheus, expressions), testing::IsEmpty()) << prometheus.log();
  for (const Target& target : Targets()) {  // printed for people
    const json shown = prometheus.Query(target.expression);
    if (shown.empty()) continue;
    std::printf("%-34s %2zu series, the first %s\n", target.panel.c_str(), shown.size(),
                shown[0]["value"][1].get<std::string>().c_str());
  }
  for (const json& annotation : Dashboard()["annotations"]["list"]) {
    EXPECT_NO_THROW(prometheus.Query(WithVariables(annotation["expr"])));
  }
  for (const json& rule : prometheus.Rules()) {
    EXPECT_EQ(rule["health"], "ok") << rule["name"] << ": " << rule.value("lastError", "");
    EXPECT_NE(rule.value("state", ""), "firing") << rule["name"];
  }
}

// The adapter looks for each pod among the answers; KEDA refuses an answer that has several.
TEST_P(MonitoringTest, AutoscalersHearWhatTheyAskFor) {
  LoadedServer server;
  const Prometheus prometheus(path_, server.metrics());
  ASSERT_NO_FATAL_FAILURE(server.Load());
  ASSERT_EQ(AdapterQueries().size(), 2u);
  ASSERT_THAT(WithoutData(prometheus, AdapterQueries()), testing::IsEmpty());
  for (const std::string& query : AdapterQueries()) {
    const json answer = prometheus.Query(query);
    ASSERT_EQ(answer.size(), 1u) << query;
    EXPECT_EQ(answer[0]["metric"], json({{"pod", "denoised-0"}})) << query;
  }
  ASSERT_EQ(KedaQueries().size(), 2u);
  ASSERT_THAT(WithoutData(prometheus, KedaQueries()), testing::IsEmpty());
  for (const std::string& query : KedaQueries()) EXPECT_EQ(prometheus.Query(query).size(), 1u) << query;
}

// A zero where nothing was measured would read as "all is well", and send replicas away.
TEST_P(MonitoringTest, NothingIsShownOfAServerThatIsNotThere) {
  const Prometheus prometheus(path_, "127.0.0.1:1");
  ASSERT_THAT(WithoutData(prometheus, {"count_over_time(up[1m]) > 1"}), testing::IsEmpty());
  for (const Target& target : Targets()) {
    const json shown = prometheus.Query(target.expression);
    if (target.panel == "Replicas up") {
      ASSERT_EQ(shown.size(), 1u);
      EXPECT_EQ(shown[0]["value"][1], "0");
    } else {
      EXPECT_TRUE(shown.empty()) << target.panel << ": " << shown.dump();
    }
  }
  for (const auto& queries : {AdapterQueries(), KedaQueries()}) {
    for (const std::string& query : queries) EXPECT_EQ(prometheus.Query(query), json::array()) << query;
  }
}

INSTANTIATE_TEST_SUITE_P(Version, MonitoringTest, testing::Values("2", "3"),
                         [](const auto& version) { return "Prometheus" + version.param; });

}  // namespace
}  // namespace denoised
