// File: options.h
//
// denoise's commands and flags. Each flag is also an environment variable, DENOISE_ and the name in capitals; a flag
// wins. What says what to do (--grid, --model, the subcommands and theirs) is none: a variable would turn `denoise 7`
// into something else.
//
//   ClientOptions options;
//   CLI::App app;
//   AddClientOptions(app, options);
//   const std::set<std::string> typed = TypedOptions(app, argc, argv);
//   if (const std::optional<int> code = ParseCommandLine(app, argc, argv)) return *code;
//   DENOISED_RETURN_IF_ERROR(CheckOptions(options, typed));
#ifndef DENOISED_CLIENT_OPTIONS_H_
#define DENOISED_CLIENT_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/calls/digit_client.h"
#include "client/calls/load_test.h"
#include "client/terminal/terminal_sheet.h"
#include "denoised/v1/digit_service.pb.h"

namespace denoised {

enum class Command { kDraw, kWatch, kGrid, kModel, kBench, kHealth, kDataset };

struct ClientOptions {
  Connection connection;
  CallOptions call;
  std::string wait;  // seconds; empty: a while for a server on this machine, none for others

  // What to do; a class to draw when none is set.
  bool grid = false;
  bool show_model = false;
  bool bench = false;
  bool health = false;
  bool watch = false;
  bool dataset = false;
  Command command() const;

  // The request. Absent values are left to the server.
  std::optional<int32_t> digit;  // the class by its number,
  std::string class_name;        // or by its name
  uint32_t count = 1;
  std::optional<uint32_t> index;  // of the one image to draw
  std::optional<uint64_t> seed;
  v1::Sampler sampler = v1::SAMPLER_UNSPECIFIED;
  v1::Priority priority = v1::PRIORITY_UNSPECIFIED;
  uint32_t steps = 0;
  std::optional<float> eta;
  std::optional<float> guidance_scale;
  std::optional<uint32_t> size;
  v1::Interpolation interpolation = v1::INTERPOLATION_UNSPECIFIED;
  uint32_t preview_every = 0;
  v1::PreviewKind preview_kind = v1::PREVIEW_KIND_UNSPECIFIED;
  std::optional<uint32_t> per_digit;  // absent: 1 in a grid, 6000 in a data set

  // `denoise bench`: levels of load, one after the other; see load_test.h.
  std::vector<int> concurrency;
  std::vector<double> rates;
  LoadTestOptions load_test;

  // The result.
  std::string out;
  std::string previews_dir;
  PictureMode picture = PictureMode::kAuto;
  bool quiet = false;
  bool json = false;
};

// Adds every flag to `app`, with `options` as the place of its value.
void AddClientOptions(CLI::App& app, ClientOptions& options);

// The token of DENOISE_TOKEN, where that is set.
void ReadToken(ClientOptions& options);

// The value of --sampler: "ddim"; "ddpm" for one that is left to the server.
std::string SamplerFlag(v1::Sampler sampler);

// The subcommand that was probably meant by the class that is to be drawn, or the flag: "health" for "helth", "--help"
// for "help"; empty for none.
std::string CommandLike(const ClientOptions& options);

// How long to wait for somebody to listen at the server's address.
double WaitSeconds(const ClientOptions& options);

// What each flag alone cannot know: a command with no class, two commands at once, and flags that the command has no
// use for, which are those of `typed` (TypedOptions). INVALID_ARGUMENT, a line for each.
absl::Status CheckOptions(const ClientOptions& options, const std::set<std::string>& typed);

}  // namespace denoised

#endif  // DENOISED_CLIENT_OPTIONS_H_
