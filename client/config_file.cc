#include "client/config_file.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/support/file.h"
#include "common/support/quoted.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

constexpr char kName[] = "denoise.toml";
constexpr char kVariable[] = "DENOISE_CONFIG";  // names another
constexpr uint64_t kMaxBytes = 1 << 20;

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Empty when there is none to read.
std::string ConfigPath() {
  if (const std::string named = Variable(kVariable); !named.empty()) return named;
  const std::string base = Variable("XDG_CONFIG_HOME"), home = Variable("HOME");
  if (base.empty() && home.empty()) return "";
  const std::string path = base.empty() ? absl::StrCat(home, "/.config/", kName) : absl::StrCat(base, "/", kName);
  std::error_code error;
  return std::filesystem::exists(path, error) ? path : "";
}

// The environment variable that a setting stands for; empty for no setting.
std::string VariableOf(const CLI::App& app, const std::string& setting) {
  if (setting == "token") return "DENOISE_TOKEN";
  const CLI::Option* option = app.get_option_no_throw("--" + setting);
  return option == nullptr ? "" : option->get_envname();
}

bool OthersMayRead(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && (info.st_mode & (S_IRGRP | S_IROTH)) != 0;
}

// An error of the file as a whole.
absl::Status AboutItsVariable(const absl::Status& status) {
  if (Variable(kVariable).empty()) return status;
  return absl::Status(status.code(), absl::StrCat(kVariable, ": ", status.message()));
}

absl::Status Wrong(const std::string& path, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", Visible(what)));
}

absl::Status Apply(const CLI::App& app, const std::string& path, const CLI::ConfigItem& item, Origins& variables) {
  const std::string name = item.fullname();
  if (name == "++" || name == "--") return absl::OkStatus();  // CLI11's marks for the beginning and end of a section
  if (!item.parents.empty()) {
    return Wrong(path,
                 absl::StrCat("[", absl::StrJoin(item.parents, "."),
                              "]: sections have no meaning here; leave it out, as a setting is for all commands"));
  }
  const std::string variable = VariableOf(app, item.name);
  if (variable.empty()) {
    return Wrong(path, absl::StrCat("there is no setting named ", Quoted(name),
                                    "; settings are called as the flags of `denoise --help`, without hyphens"));
  }
  if (item.inputs.size() != 1) return Wrong(path, absl::StrCat(name, " must have one value"));
  if (item.name == "token" && OthersMayRead(path)) {
    return Wrong(path, absl::StrCat("holds a token, and others may read it; chmod 600 ", path));
  }
  if (!Variable(variable.c_str()).empty()) return absl::OkStatus();
  setenv(variable.c_str(), item.inputs[0].c_str(), /*overwrite=*/1);
  variables[variable] = absl::StrCat(path, ": ", name);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Origins> ReadConfigFile(const CLI::App& app) {
  Origins variables;
  const std::string path = ConfigPath();
  if (path.empty()) return variables;
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxBytes);
  if (!text.ok()) return AboutItsVariable(text.status());
  std::istringstream stream(*text);
  std::vector<CLI::ConfigItem> items;
  try {
    items = CLI::ConfigTOML().from_config(stream);
  } catch (const CLI::Error& error) {
    return Wrong(path, error.what());
  }
  for (const CLI::ConfigItem& item : items) DENOISED_RETURN_IF_ERROR(Apply(app, path, item, variables));
  return variables;
}

}  // namespace denoised
