// File: preflight.h
//
// `denoised --check`: everything that a start would need, tried without serving, for whoever changes flags or files of
// a server that runs.
//
//   absl::StatusOr<std::string> report = Preflight(options, LoadServingModel);
#ifndef DENOISED_SERVER_PREFLIGHT_H_
#define DENOISED_SERVER_PREFLIGHT_H_

#include <string>

#include "absl/status/statusor.h"
#include "server/server.h"

namespace denoised {

// What would be served, where and how, in lines. Or the error that a start would end with, but for a port that cannot
// be had while a server answers at --listen, as the one whose flags are to be changed does; then a line says so.
absl::StatusOr<std::string> Preflight(const ServerOptions& options, const Server::ModelLoader& load_model);

}  // namespace denoised

#endif  // DENOISED_SERVER_PREFLIGHT_H_
