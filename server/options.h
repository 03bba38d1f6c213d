// File: options.h
//
// denoised's flags. Each is also an environment variable, DENOISED_ and the name in capitals, since containers set
// those; a flag wins over its variable.
//
//   ServerOptions options;
//   CLI::App app;
//   AddServerOptions(app, options);
#ifndef DENOISED_SERVER_OPTIONS_H_
#define DENOISED_SERVER_OPTIONS_H_

#include <CLI/CLI.hpp>

#include "server/server.h"

namespace denoised {

// Adds every flag to `app`, with `options` as the place of its value and the source of its default.
void AddServerOptions(CLI::App& app, ServerOptions& options);

}  // namespace denoised

#endif  // DENOISED_SERVER_OPTIONS_H_
