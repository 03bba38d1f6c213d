#include "common/command_line/unknown_variables.h"

#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/support/edit_distance.h"
#include "common/support/quoted.h"

namespace denoised {
namespace {

// What this project's tests and scripts read, by the beginnings of the names.
constexpr std::string_view kOwn[] = {"DENOISED_ASAN_OPTIONS", "DENOISED_BENCH_",     "DENOISED_BIN_DIR",
                                     "DENOISED_GPU_REPORT",   "DENOISED_RELOADS",    "DENOISED_ROLLING_",
                                     "DENOISED_SCHEDULE",     "DENOISED_SOURCE_DIR", "DENOISED_TEST_"};

bool IsOwn(std::string_view name) {
  return std::any_of(std::begin(kOwn), std::end(kOwn), [name](std::string_view own) { return name.starts_with(own); });
}

// For a service "denoised": DENOISED_SERVICE_HOST, DENOISED_SERVICE_PORT_GRPC, DENOISED_PORT=tcp://10.0.0.1:50051,
// DENOISED_PORT_50051_TCP_ADDR.
bool IsOfKubernetes(const std::string& name, const std::string& value) {
  if (absl::EndsWith(name, "_SERVICE_HOST") || absl::EndsWith(name, "_SERVICE_PORT")) return true;
  if (absl::StrContains(name, "_SERVICE_PORT_")) return true;
  if (absl::EndsWith(name, "_PORT")) return absl::StrContains(value, "://");
  const size_t port = name.find("_PORT_");
  return port != std::string::npos && port + 6 < name.size() && name[port + 6] >= '0' && name[port + 6] <= '9';
}

}  // namespace

std::vector<std::string> UnknownVariables(const CLI::App& app, const std::string& prefix,
                                          const std::set<std::string>& others) {
  std::vector<std::string> known(others.begin(), others.end());
  for (const CLI::Option* option : app.get_options()) known.push_back(option->get_envname());
  std::vector<std::string> warnings;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::pair<std::string, std::string> entry = absl::StrSplit(*variable, absl::MaxSplits('=', 1));
    const auto& [name, value] = entry;
    if (!absl::StartsWith(name, prefix + "_") || IsOwn(name) || IsOfKubernetes(name, value)) continue;
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string near = Nearest(name, known, kSlips);
    warnings.push_back(absl::StrCat(Visible(name), " is no setting of ", app.get_name(),
                                    near.empty() ? "" : absl::StrCat("; did you mean ", near, "?")));
  }
  std::sort(warnings.begin(), warnings.end());
  return warnings;
}

}  // namespace denoised
