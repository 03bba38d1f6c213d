// What the manifests in deploy/ promise about the server's own flags.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/options.h"
#include "tests/server/puppet_server.h"
#include "tests/testing/http2.h"
#include "tests/testing/program.h"
#include "tests/testing/raw_connection.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

// What follows `name` in the manifest, as a number; NaN when it is not there.
double NumberAfter(const std::string& name, const std::string& manifest) {
  std::smatch match;
  if (!std::regex_search(manifest, match, std::regex(name + "([0-9.]+)"))) return std::nan("");
  return std::stod(match[1]);
}

// Otherwise the pod is killed while it still draws what it has admitted.
TEST(KubernetesTest, GracePeriodCoversLameDuckAndDrain) {
  const std::string manifest = Slurp(DENOISED_SOURCE_DIR "/deploy/kubernetes/base/deployment.yaml");
  EXPECT_GE(NumberAfter("terminationGracePeriodSeconds: ", manifest),
            NumberAfter("--lame_duck=", manifest) + NumberAfter("--drain_timeout=", manifest) + kMostClosingSeconds);
}

// A client that balances over a headless Service learns of new replicas from DNS, and asks again only when one has
// gone: those that it knows must not all be gone before it is told of others.
TEST(KubernetesTest, NewReplicasAreKnownToClientsBeforeOldOnesGo) {
  constexpr double kDnsCacheSeconds = 30, kSecondsBetweenResolutions = 30;  // CoreDNS's; gRPC's
  EXPECT_GE(NumberAfter("minReadySeconds: ", Slurp(DENOISED_SOURCE_DIR "/deploy/kubernetes/base/deployment.yaml")),
            kDnsCacheSeconds + kSecondsBetweenResolutions);
}

class HaproxyTest : public PuppetServer {
 protected:
  HaproxyTest() : PuppetServer(/*slots=*/1, /*max_queued_images=*/1) {}

  // The bytes of its health check.
  std::string CheckBytes() const {
    const std::regex regex("send-binary ([0-9a-f]+)");
    std::string bytes;
    for (std::sregex_iterator match(config_.begin(), config_.end(), regex), end; match != end; ++match) {
      bytes += absl::HexStringToBytes((*match)[1].str());
    }
    return bytes;
  }

  const std::string config_ = Slurp(DENOISED_SOURCE_DIR "/deploy/haproxy.cfg");
};

TEST_F(HaproxyTest, CheckIsACallOfHealth) {
  Start();
  const RawConnection connection(server_->port());
  connection.Send(CheckBytes());
  const std::string serving("\0\0\0\0\x02\x08\x01", 7);
  EXPECT_THAT(http2::FrameReader(connection).Stream(1),
              testing::Contains(testing::Field(&http2::Frame::payload, serving)));
}

// Otherwise calls go to a port that has closed.
TEST_F(HaproxyTest, CheckFindsALameDuckWhileItIsOne) {
  const double milliseconds = NumberAfter("check inter ", config_) + NumberAfter("fastinter ", config_);
  EXPECT_LT(milliseconds / 1000, ServerOptions().lame_duck_seconds / 2);
}

// Deployment files that name flags of the server's own.
class FlagsTest : public testing::Test {
 protected:
  FlagsTest() { AddServerOptions(app_, options_); }

  bool HasFlag(const std::string& name) const { return app_.get_option_no_throw(name) != nullptr; }
  bool HasVariable(const std::string& name) const {
    const std::vector<const CLI::Option*> flags = std::as_const(app_).get_options();
    return std::any_of(flags.begin(), flags.end(),
                       [&](const CLI::Option* flag) { return flag->get_envname() == name; });
  }

  // What `pattern` finds in a file, comments included.
  static std::vector<std::string> Find(const std::string& pattern, const std::string& file) {
    const std::regex regex(pattern);
    const std::sregex_token_iterator begin(file.begin(), file.end(), regex);
    return {begin, std::sregex_token_iterator()};
  }

  CLI::App app_;
  ServerOptions options_;
};

// A flag that does not exist keeps every pod from starting.
TEST_F(FlagsTest, ManifestsNameFlagsThatExist) {
  for (const char* file : {"base/deployment.yaml", "overlays/gpu/gpu.yaml"}) {
    const std::string manifest = Slurp(absl::StrCat(DENOISED_SOURCE_DIR "/deploy/kubernetes/", file));
    const std::vector<std::string> flags = Find("--[a-z_]+(?==)", manifest);
    EXPECT_THAT(flags, testing::Contains("--lame_duck")) << file;
    for (const std::string& flag : flags) EXPECT_TRUE(HasFlag(flag)) << file << ": " << flag;
  }
  const std::vector<std::pair<std::string, std::string>> with_variables = {
      {"kubernetes/components/checkpoint-claim/checkpoint.yaml", "DENOISED_CHECKPOINT"},
      {"kubernetes/components/checkpoint-image/checkpoint.yaml", "DENOISED_CHECKPOINT"},
      {"kubernetes/components/checkpoint-init/checkpoint.yaml", "DENOISED_CHECKPOINT"},
      {"kubernetes/components/page/page.yaml", "DENOISED_HTTP_LISTEN"},
      {"kubernetes/components/tls/kustomization.yaml", "DENOISED_TLS_CLIENT_CA"},
      {"kubernetes/components/tls/tls.yaml", "DENOISED_TLS_CERT"},
      {"kubernetes/components/tokens/kustomization.yaml", "DENOISED_ALLOW_PLAIN_TOKENS"},
      {"kubernetes/components/tokens/tokens.yaml", "DENOISED_TOKENS"},
      {"kubernetes/components/traces/traces.yaml", "DENOISED_OTLP_ENDPOINT"},
      {"compose.yaml", "DENOISED_HTTP_LISTEN"}};
  for (const auto& [file, expected] : with_variables) {
    const std::vector<std::string> variables =
        Find("DENOISED_[A-Z_]+", Slurp(absl::StrCat(DENOISED_SOURCE_DIR "/deploy/", file)));
    EXPECT_THAT(variables, testing::Contains(expected)) << file;
    for (const std::string& variable : variables) EXPECT_TRUE(HasVariable(variable)) << file << ": " << variable;
  }
}

// A guide that names a flag which is gone sends people astray. Flags of the other programs are left to their own tests.
TEST_F(FlagsTest, GuidesForOperatorsNameFlagsThatExist) {
  const std::set<std::string> of_others = {"--add_golden_draw",
                                           "--build",
                                           "--collect",
                                           "--count",
                                           "--guidance_scale",
                                           "--image",
                                           "--install",
                                           "--out",
                                           "--pipe",
                                           "--preset",
                                           "--rate",
                                           "--rates",
                                           "--read-only",
                                           "--replicas",
                                           "--sampler",
                                           "--step_times",
                                           "--steps",
                                           "--cap-drop",
                                           "--help",
                                           "--now",
                                           "--check",
                                           "--healthcheck",
                                           "--tls",
                                           "--wait"};
  for (const char* file : {"operations.md", "capacity.md"}) {
    const std::vector<std::string> flags =
        Find("--[a-z]+[a-z_-]*", Slurp(absl::StrCat(DENOISED_SOURCE_DIR "/docs/", file)));
    EXPECT_THAT(flags, testing::Not(testing::IsEmpty()));
    for (const std::string& flag : flags) {
      EXPECT_TRUE(HasFlag(flag) || of_others.contains(flag)) << file << ": " << flag;
    }
  }
}

class DockerTest : public FlagsTest {
 protected:
  const std::string file_ = Slurp(DENOISED_SOURCE_DIR "/Dockerfile");
};

TEST_F(DockerTest, ImageNamesVariablesThatExist) {
  const std::vector<std::string> variables = Find("DENOISED_[A-Z_]*[A-Z](?==)", file_);
  EXPECT_THAT(variables, testing::Contains("DENOISED_CHECKPOINT"));
  for (const std::string& variable : variables) {
    if (absl::StrContains(file_, absl::StrCat("-D", variable, "="))) continue;  // that is CMake's
    EXPECT_TRUE(HasVariable(variable)) << variable;
  }
}

// Docker marks a container as sick that does not answer by then; the program itself waits five seconds.
TEST_F(DockerTest, HealthIsAskedByTheProgramItself) {
  EXPECT_THAT(file_, testing::HasSubstr("ENTRYPOINT [\"/usr/bin/denoised\"]"));
  EXPECT_THAT(file_, testing::ContainsRegex("HEALTHCHECK [^\n]*CMD \\[\"/usr/bin/denoised\", \"--healthcheck\"\\]"));
  EXPECT_GT(NumberAfter("HEALTHCHECK [^\n]*--timeout=", file_), 5);
  EXPECT_GE(NumberAfter("HEALTHCHECK [^\n]*--start-period=", file_),
            NumberAfter("TimeoutStartSec=", Slurp(DENOISED_SOURCE_DIR "/deploy/denoised.service")));
}

// Otherwise Compose kills after ten seconds what is still drawn.
TEST_F(DockerTest, ComposeWaitsAsLongAsADrainTakes) {
  EXPECT_GE(NumberAfter("stop_grace_period: ", Slurp(DENOISED_SOURCE_DIR "/deploy/compose.yaml")),
            options_.lame_duck_seconds + options_.drain_timeout_seconds + kMostClosingSeconds);
}

// Whoever may not log in by the form may by the API, as admin with a password that everybody knows.
TEST_F(DockerTest, NobodyMayChangeGrafana) {
  const std::string compose = Slurp(DENOISED_SOURCE_DIR "/deploy/compose.yaml");
  EXPECT_THAT(compose, testing::HasSubstr("GF_AUTH_BASIC_ENABLED: \"false\""));
  EXPECT_THAT(compose, testing::HasSubstr("GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION: \"true\""));
}

class SystemdTest : public FlagsTest {
 protected:
  const std::string unit_ = Slurp(DENOISED_SOURCE_DIR "/deploy/denoised.service");
};

TEST_F(SystemdTest, UnitNamesFlagsThatExist) {
  const std::vector<std::string> flags = Find("--(lame_|drain_|stall_|otlp_)[a-z_]+", unit_);
  EXPECT_THAT(flags, testing::Contains("--otlp_endpoint"));
  for (const std::string& flag : flags) EXPECT_TRUE(HasFlag(flag)) << flag;
  const std::vector<std::string> variables = Find("DENOISED_[A-Z_]+", unit_);
  EXPECT_THAT(variables, testing::Contains("DENOISED_TOKENS"));
  for (const std::string& variable : variables) EXPECT_TRUE(HasVariable(variable)) << variable;
}

// A flag there would win over what the administrator writes into that file.
TEST_F(SystemdTest, EverySettingCanBeChangedByTheEnvironmentFile) {
  EXPECT_THAT(unit_, testing::ContainsRegex("\nExecStart=[^ \n]+\n"));
  EXPECT_THAT(unit_, testing::HasSubstr("\nEnvironmentFile=-/etc/denoised/denoised.env\n"));
}

TEST_F(SystemdTest, StopTimeoutCoversLameDuckAndDrain) {
  EXPECT_GE(NumberAfter("TimeoutStopSec=", unit_),
            options_.lame_duck_seconds + options_.drain_timeout_seconds + kMostClosingSeconds);
}

// A step that hangs is for the server itself to end, which can tell clients why.
TEST_F(SystemdTest, WatchdogIsMorePatientThanStallTimeout) {
  EXPECT_GT(NumberAfter("WatchdogSec=", unit_), options_.stall_timeout_seconds);
}

bool HasSystemdAnalyze() { return RunProgram({"/bin/sh", "-c", "command -v systemd-analyze"}).exit_code == 0; }

// systemd passes over what it does not know with a warning, and the restriction is not there.
TEST_F(SystemdTest, UnitIsOneThatSystemdUnderstands) {
  if (!HasSystemdAnalyze()) GTEST_SKIP() << "systemd-analyze is not installed";
  const TempFolder folder;
  const std::string unit =
      folder.Write("denoised.service", std::regex_replace(unit_, std::regex("/usr/local/bin/denoised"), "/bin/true"));
  const ProgramResult result = RunProgram({"/bin/sh", "-c", "systemd-analyze verify --man=no " + unit});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
}

// In tenths: 1.4 by systemd 252, where an ordinary unit has 9 and more. Later versions may ask for more.
TEST_F(SystemdTest, UnitIsExposedToLittle) {
  if (!HasSystemdAnalyze()) GTEST_SKIP() << "systemd-analyze is not installed";
  const ProgramResult result = RunProgram({"/bin/sh", "-c",
                                           "systemd-analyze security --offline=yes --threshold=20 " DENOISED_SOURCE_DIR
                                           "/deploy/denoised.service"});
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_THAT(result.out, testing::HasSubstr("Overall exposure level for denoised.service"));
}

}  // namespace
}  // namespace denoised
