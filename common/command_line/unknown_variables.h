// File: unknown_variables.h
//
// Environment variables that look like a program's settings and are none: a mistyped one would otherwise be passed over
// without a word.
//
//   for (const std::string& warning : UnknownVariables(app, "DENOISED", {})) spdlog::warn("{}", warning);
#ifndef DENOISED_COMMON_COMMAND_LINE_UNKNOWN_VARIABLES_H_
#define DENOISED_COMMON_COMMAND_LINE_UNKNOWN_VARIABLES_H_

#include <CLI/CLI.hpp>
#include <set>
#include <string>
#include <vector>

namespace denoised {

// A sentence for each variable that begins with `prefix` and an underscore and is neither one of a flag of `app`, nor
// among `others`, nor one that Kubernetes makes for a service of that name, nor one of this project's own tests:
//   "DENOISE_SEDE is no setting of denoise; did you mean DENOISE_SEED?"
std::vector<std::string> UnknownVariables(const CLI::App& app, const std::string& prefix,
                                          const std::set<std::string>& others);

}  // namespace denoised

#endif  // DENOISED_COMMON_COMMAND_LINE_UNKNOWN_VARIABLES_H_
