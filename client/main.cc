// denoise: draws digits with a denoised server. See --help.
#include <grpc/support/log.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/bench.h"
#include "client/calls/digit_client.h"
#include "client/config_file.h"
#include "client/draw_digit.h"
#include "client/draw_grid.h"
#include "client/make_dataset.h"
#include "client/options.h"
#include "client/show_health.h"
#include "client/show_model.h"
#include "common/command_line/command_line.h"
#include "common/command_line/standard_output.h"
#include "common/command_line/unknown_variables.h"
#include "common/support/signal_queue.h"

namespace denoised {
namespace {

constexpr char kTokenVariable[] = "DENOISE_TOKEN", kConfigVariable[] = "DENOISE_CONFIG";
constexpr int kInterrupted = 130;  // as shells report SIGINT

// Cancels the client's calls on SIGINT or SIGTERM, so that the server stops drawing at once. A second signal ends the
// process.
class Interruption {
 public:
  explicit Interruption(DigitClient& client)
      : watcher_([this, &client](const std::stop_token& stop) {
          signals_.EndAtOnceAfter(1);  // a pipe that nobody reads holds on for ever
          while (!stop.stop_requested() && !happened_) {
            if (!signals_.WaitFor(kPoll).has_value()) continue;
            happened_ = true;
            client.Cancel();
          }
        }) {}
  bool happened() const { return happened_; }

 private:
  static constexpr std::chrono::milliseconds kPoll{20};

  SignalQueue signals_{SIGINT, SIGTERM};
  std::atomic<bool> happened_ = false;
  std::jthread watcher_;
};

absl::Status Run(DigitClient& client, const ClientOptions& options) {
  switch (options.command()) {
    case Command::kBench:
      return Bench(client, options);
    case Command::kModel:
      return ShowModel(client, options);
    case Command::kHealth:
      return ShowHealth(client, options);
    case Command::kGrid:
      return DrawGrid(client, options);
    case Command::kDataset:
      return MakeDataset(client, options);
    default:
      return DrawDigit(client, options);
  }
}

// Of a cancelled command, where it says more than that.
std::string WhatIsKept(const absl::Status& status) {
  const bool tells = absl::IsCancelled(status) && status.message() != kCancelledText;
  return tells ? absl::StrCat("; ", status.message()) : "";
}

// `denoise helth` draws a class of that name, should there be one.
absl::Status WithCommandLike(const absl::Status& status, const ClientOptions& options) {
  const std::string command = CommandLike(options);
  if (command.empty() || !(absl::IsInvalidArgument(status) || absl::IsUnavailable(status))) return status;
  return absl::Status(status.code(), absl::StrCat(status.message(), "\nor did you mean `denoise ", command, "`?"));
}

Origins AllOrigins(CLI::App& app, const ClientOptions& options, const std::set<std::string>& typed,
                   const Origins& variables) {
  Origins origins = OriginsOf(app, typed, variables);
  if (options.connection.token.empty() || !options.connection.token_file.empty()) return origins;
  const auto named = variables.find(kTokenVariable);
  for (const char* name : {kTokenVariable, "--token_file"}) {  // errors are about either
    origins[name] = named == variables.end() ? kTokenVariable : named->second;
  }
  return origins;
}

void WarnOfUnknownVariables(const CLI::App& app) {
  for (const std::string& warning : UnknownVariables(app, "DENOISE", {kTokenVariable, kConfigVariable})) {
    absl::FPrintF(stderr, "denoise: warning: %s\n", warning);
  }
}

int Main(int argc, char** argv) {
  ClientOptions options;
  CLI::App app("Draws handwritten digits, or whatever the model has learned, with a denoised server.", "denoise");
  app.footer(
      "Examples:\n"
      "  denoise 7                            draws a seven into digit-7.png\n"
      "  denoise 7 --seed 42 --sampler ddim   the same seven each time, in 50 steps\n"
      "  denoise 'Ankle boot'                 a class by its name, where it has one\n"
      "  denoise --grid --out grid.png        draws one of each class\n"
      "  denoise watch 7                      shows how a seven emerges\n"
      "  denoise dataset --out synthetic      draws a training set, in MNIST's format\n"
      "  denoise bench --concurrency 1,8      measures the server\n"
      "An option with (Env:...) can also be set by that environment variable, or in\n"
      "~/.config/denoise.toml, as in server = \"denoised.example.org\"; the command line\n"
      "wins over the environment, and that over the file. XDG_CONFIG_HOME names another\n"
      "folder than ~/.config, DENOISE_CONFIG another file.\n"
      "Exit status: 0 done, 1 an error, told on stderr, 2 a command line that cannot\n"
      "be, whoever finds that out, 130 interrupted.");
  AddClientOptions(app, options);
  const absl::StatusOr<Origins> variables = ReadConfigFile(app);
  if (!variables.ok()) {
    ReportError("denoise", variables.status());
    return kUsageError;
  }
  ReadToken(options);
  const std::set<std::string> typed = TypedOptions(app, argc, argv);
  if (const std::optional<int> code = ParseCommandLine(app, argc, argv, *variables)) return *code;
  const Origins origins = AllOrigins(app, options, typed, *variables);
  if (const absl::Status status = CheckOptions(options, typed); !status.ok()) {
    ReportError("denoise", status, origins);
    return kUsageError;
  }
  if (!options.quiet) WarnOfUnknownVariables(app);
  gpr_set_log_function([](gpr_log_func_args*) {});  // this program says itself what went wrong

  const absl::StatusOr<std::unique_ptr<DigitClient>> client = DigitClient::Connect(options.connection);
  if (!client.ok()) return ReportError("denoise", client.status(), origins);
  Interruption interruption(**client);
  const absl::Status status = Run(**client, options);
  if (interruption.happened()) {
    absl::FPrintF(stderr, "denoise: interrupted%s\n", WhatIsKept(status));
    return kInterrupted;
  }
  return status.ok() ? EXIT_SUCCESS : ReportError("denoise", WithCommandLike(status, options), origins);
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) { return denoised::FinishOutput("denoise", denoised::Main(argc, argv)); }
