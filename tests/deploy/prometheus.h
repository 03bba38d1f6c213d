// File: prometheus.h
//
// A real Prometheus with the rules of deploy/prometheus/, which scrapes each second. Its one target is pod "denoised-0"
// of the namespace "digits", as the Prometheus Operator labels those that it finds.
//
//   const std::string path = Prometheus::Path("prometheus");  // empty: not installed
//   Prometheus prometheus(path, /*target=*/"127.0.0.1:9464");
//   prometheus.Query("up").size();
#ifndef DENOISED_TESTS_DEPLOY_PROMETHEUS_H_
#define DENOISED_TESTS_DEPLOY_PROMETHEUS_H_

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/testing/free_port.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {

// Where a program is; empty if it is not installed.
inline std::string PathOf(const std::string& program) {
  const ProgramResult found = RunProgram({"/bin/sh", "-c", absl::StrCat("command -v ", program)});
  return found.exit_code == 0 ? std::string(absl::StripAsciiWhitespace(found.out)) : "";
}

class Prometheus {
 public:
  // Debian's is of version 2; one of version 3 is where `scripts/setup.sh --prometheus3` leaves it.
  static std::string Path(const std::string& version) {
    if (version != "3") return PathOf("prometheus");
    const std::string path = DENOISED_SOURCE_DIR "/build/prometheus3/prometheus";
    return std::filesystem::exists(path) ? path : "";
  }

  // `target`: of the job denoised.
  Prometheus(const std::string& path, const std::string& target) : address_(absl::StrCat("127.0.0.1:", FreePort())) {
    const std::string deployed = DENOISED_SOURCE_DIR "/deploy/prometheus/";
    for (const char* rules : {"recording.rules.yml", "alerts.rules.yml"}) folder_.Write(rules, Slurp(deployed + rules));
    const std::string config = folder_.Write(
        "prometheus.yml", absl::StrReplaceAll(Slurp(deployed + "prometheus.yml"),
                                              {{"[\"denoised:9464\"]", absl::StrCat("[\"", target, "\"]", kPod)},
                                               {"_interval: 15s", "_interval: 1s"}}));
    program_ = std::make_unique<BackgroundProgram>(
        std::vector<std::string>{path, "--config.file=" + config, "--storage.tsdb.path=" + folder_.File("data"),
                                 "--web.listen-address=" + address_, "--log.level=warn"});
    while (Get("/-/ready").exit_code != 0) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }

  // The series that an expression gives now. Throws what Prometheus says of one that it cannot evaluate.
  nlohmann::json Query(const std::string& expression) const {
    const nlohmann::json answer =
        nlohmann::json::parse(Get("/api/v1/query", {"--data-urlencode", "query=" + expression}).out);
    if (answer.value("status", "") != "success") throw std::runtime_error(expression + ": " + answer.dump());
    return answer["data"]["result"];
  }
  // Whether one of them is a number.
  bool HasData(const std::string& expression) const {
    const nlohmann::json series = Query(expression);
    return std::any_of(series.begin(), series.end(), [](const auto& one) { return one["value"][1] != "NaN"; });
  }

  // Every rule, with "name", "query", "type", "health", "lastError" and, of alerts, "state".
  nlohmann::json Rules() const {
    nlohmann::json rules = nlohmann::json::array();
    const nlohmann::json answer = nlohmann::json::parse(Get("/api/v1/rules").out);
    for (const auto& group : answer["data"]["groups"]) {
      rules.insert(rules.end(), group["rules"].begin(), group["rules"].end());
    }
    return rules;
  }

  std::string log() const { return program_->err(); }

 private:
  ProgramResult Get(const std::string& path, const std::vector<std::string>& options = {}) const {
    std::vector<std::string> command = {"/usr/bin/env", "curl", "--silent", "--fail-with-body", "--get"};
    command.insert(command.end(), options.begin(), options.end());
    command.push_back(absl::StrCat("http://", address_, path));
    return RunProgram(command);
  }

  static constexpr char kPod[] = "\n        labels: {namespace: digits, pod: denoised-0}";

  const std::string address_;
  TempFolder folder_;
  std::unique_ptr<BackgroundProgram> program_;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_DEPLOY_PROMETHEUS_H_
