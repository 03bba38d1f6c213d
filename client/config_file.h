// File: config_file.h
//
// denoise's settings file: what would otherwise be flags of each call, such as where the server is and how to speak
// with it.
//
//   # ~/.config/denoise.toml
//   server = "denoised.example.org"
//   tls = true
//   token_file = "/home/me/lab.token"
//
//   DENOISED_ASSIGN_OR_RETURN(const Origins variables, ReadConfigFile(app));   // before the command line is parsed
//
// A flag wins over an environment variable, and that over the file.
#ifndef DENOISED_CLIENT_CONFIG_FILE_H_
#define DENOISED_CLIENT_CONFIG_FILE_H_

#include <CLI/CLI.hpp>

#include "absl/status/statusor.h"
#include "common/command_line/command_line.h"

namespace denoised {

// Reads the file that DENOISE_CONFIG names, or else denoise.toml in $XDG_CONFIG_HOME or ~/.config, if there is one.
// Each setting is a flag that has an environment variable, by its name without hyphens, or "token"; it becomes that
// variable of this process, unless it is set. Not thread-safe, therefore. Returns what to call these variables:
// {"DENOISE_SEED", "/home/me/.config/denoise.toml: seed"}. INVALID_ARGUMENT for what is no setting, and for a token in
// a file that others may read.
absl::StatusOr<Origins> ReadConfigFile(const CLI::App& app);

}  // namespace denoised

#endif  // DENOISED_CLIENT_CONFIG_FILE_H_
