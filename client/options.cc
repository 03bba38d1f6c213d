#include "client/options.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/command_line/command_line.h"
#include "common/support/class_names.h"
#include "common/support/edit_distance.h"
#include "common/support/loopback.h"
#include "common/support/quoted.h"
#include "common/support/status_macros.h"
#include "common/support/utf8.h"

namespace denoised {
namespace {

constexpr char kEnvironmentPrefix[] = "DENOISE";
constexpr uint32_t kMaxGridRows = 1000;
constexpr char kOtherFlags[] = "\nThe flags of `denoise --help` apply, too, where they have a use.";

// The commands that are words.
const std::vector<std::string>& Subcommands() {
  static const auto* const names = new std::vector<std::string>{"bench", "health", "watch", "dataset"};
  return *names;
}

template <typename Value>
CLI::Option* Add(CLI::App& app, const std::string& name, Value& value, const std::string& help) {
  return app.add_option(absl::StrCat("--", name), value, help)->envname(EnvironmentName(kEnvironmentPrefix, name));
}

// An option whose value is one of a few words.
template <typename Value>
CLI::Option* AddChoice(CLI::App& app, const std::string& name, Value& value, const std::string& help,
                       const std::map<std::string, Value>& choices) {
  const auto words = [choices] {
    std::string text;
    for (const auto& [word, unused] : choices) absl::StrAppend(&text, text.empty() ? "" : ", ", word);
    return text;
  };
  const auto parse = [name, choices, words, &value](const std::string& word) {
    const auto found = choices.find(word);
    if (found == choices.end()) {
      throw CLI::ValidationError(absl::StrCat("--", name, ": must be one of ", words(), ", got ", word));
    }
    value = found->second;
  };
  return app.add_option_function<std::string>(absl::StrCat("--", name), parse, help)
      ->envname(EnvironmentName(kEnvironmentPrefix, name))
      ->type_name(absl::StrCat("{", absl::StrReplaceAll(words(), {{", ", ","}}), "}"));
}

// A class by its number or, where that is none, by its name.
void ReadClass(const std::string& text, ClientOptions& options) {
  if (!IsClassNumber(text)) {
    if (!IsUtf8(text)) throw CLI::ValidationError(absl::StrCat("--digit: must be UTF-8, got ", Quoted(text)));
    options.class_name = text;
    return;
  }
  int32_t number = 0;
  if (!absl::SimpleAtoi(text, &number)) {
    throw CLI::ValidationError(absl::StrCat("--digit: no model has so many classes, got ", Quoted(text)));
  }
  options.digit = number;
}

std::map<std::string, v1::Sampler> Samplers() {
  return {{"ddpm", v1::SAMPLER_DDPM}, {"ddim", v1::SAMPLER_DDIM}, {"dpm_solver_pp_2m", v1::SAMPLER_DPM_SOLVER_PP_2M}};
}

// So that a subcommand's help tells of the class, which is read by the program's own option: none is left for this one.
void ShowClass(CLI::App& subcommand, const std::string& help) {
  subcommand.add_option("digit", help)->expected(0)->type_name("CLASS");
}

void AddBench(CLI::App& app, ClientOptions& options) {
  CLI::App* bench = app.add_subcommand(
      "bench",
      "Load the server and measure it, with one picture after the other of what the flags under Picture say; "
      "--per_digit has no use here");
  bench->fallthrough();
  ShowClass(*bench, "The class to draw, by its number or its name; number 0 if none is named");
  bench->callback([&options] { options.bench = true; });
  bench->footer(
      "Examples:\n"
      "  denoise bench --concurrency 1,8              so many requests in flight\n"
      "  denoise bench --rate 0.5,1 --out load.json   so many a second; with a plot\n"
      "  denoise bench --sampler ddim --steps 20      shorter chains" +
      std::string(kOtherFlags));
  bench->add_option("--concurrency", options.concurrency, "Requests in flight, or several numbers of them, with commas")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 10'000));
  bench->add_option("--rate", options.rates, "Requests a second at random moments (Poisson), or several such numbers")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1e-3, 1e5));
  bench->add_option("--duration", options.load_test.seconds, "Seconds of each level that count [10]")
      ->check(CLI::Range(0.1, 1e6));
  bench->add_option("--warmup", options.load_test.warmup_seconds, "Seconds of each level before those [2]")
      ->check(CLI::Range(0.0, 1e6));
}

void AddHealth(CLI::App& app, ClientOptions& options) {
  CLI::App* health = app.add_subcommand("health", "Ask the server whether it serves: exit status 0, or 1");
  health->fallthrough();
  health->callback([&options] { options.health = true; });
  health->footer(
      "Examples:\n"
      "  denoise health --server denoised.example.org --tls\n"
      "  denoise health --wait && denoise 7                   as soon as it serves" +
      std::string(kOtherFlags));
}

void AddWatch(CLI::App& app, ClientOptions& options) {
  CLI::App* watch = app.add_subcommand("watch", "Watch a picture emerge in the terminal; --out keeps it, too");
  watch->fallthrough();
  ShowClass(*watch, "The class to draw, by its number or its name");
  watch->callback([&options] { options.watch = true; });
  watch->footer(
      "Examples:\n"
      "  denoise watch 7                                      a hundred frames of the chain\n"
      "  denoise watch 7 --preview_kind clean --out 7.gif     the network's guesses, kept as an animation" +
      std::string(kOtherFlags));
}

void AddDataset(CLI::App& app, ClientOptions& options) {
  CLI::App* dataset = app.add_subcommand(
      "dataset", "Draw a training set into a folder, in MNIST's format; the same command again goes on where it ended");
  dataset->fallthrough();
  dataset->callback([&options] { options.dataset = true; });
  dataset->footer(
      "Examples:\n"
      "  denoise dataset --out synthetic                      6000 of each class, by the full chain\n"
      "  denoise dataset --out synthetic --per_digit 100 --sampler dpm_solver_pp_2m\n"
      "                                                       a hundred of each, soon\n"
      "  denoise dataset --out synthetic --size 28            as small as MNIST's own\n"
      "manifest.json in the folder says with what they were drawn, and how the classes\n"
      "are called. Image i of class c is what `denoise c --index i --seed S` draws,\n"
      "where S is the manifest's seed plus c." +
      std::string(kOtherFlags));
}

void AddPictureOptions(CLI::App& app, ClientOptions& options) {
  const std::string picture = "Picture";
  Add(app, "count", options.count, "How many images of the class [1]")->check(CLI::Range(1, 1'000'000))->group(picture);
  Add(app, "index", options.index,
      "Draw one image of a --seed alone, the one that --count would have given this number")
      ->check(CLI::Range(0, 1'000'000))
      ->group(picture);
  Add(app, "per_digit", options.per_digit,
      "Images of each class: with --grid, where 1 makes two rows of five for ten classes, or dataset [1 or 6000]")
      ->check(CLI::Range(1, 1'000'000))
      ->group(picture);
  Add(app, "seed", options.seed, "Makes the picture reproducible [drawn at random, and told]")->group(picture);
  AddChoice(app, "sampler", options.sampler, "ddpm, ddim or dpm_solver_pp_2m [ddpm]", Samplers())->group(picture);
  Add(app, "steps", options.steps, "Denoising steps; 0: the sampler's own, 1000, 50 or 20 [0]")->group(picture);
  Add(app, "eta", options.eta, "DDIM's stochasticity, 0 to 1 [0]")->group(picture);
  Add(app, "guidance_scale", options.guidance_scale, "Classifier-free guidance, 1 (off) to 10 [1]")->group(picture);
  Add(app, "size", options.size, "Width and height in pixels, 32 to 1024 [256; 96 each with --grid]")->group(picture);
  AddChoice(app, "interpolation", options.interpolation, "nearest, linear, cubic or lanczos [cubic]",
            {{"nearest", v1::INTERPOLATION_NEAREST},
             {"linear", v1::INTERPOLATION_LINEAR},
             {"cubic", v1::INTERPOLATION_CUBIC},
             {"lanczos", v1::INTERPOLATION_LANCZOS}})
      ->group(picture);
}

void AddOutputOptions(CLI::App& app, ClientOptions& options) {
  const std::string output = "Output";
  Add(app, "out", options.out,
      "PNG file or folder, - for standard output, or for one image's whole chain a .gif or .apng [digit-N.png "
      "of a digit, NAME.png of other classes, or grid.png]")
      ->group(output);
  Add(app, "previews_dir", options.previews_dir, "Folder for the frames of the denoising chain, as PNGs")
      ->group(output);
  Add(app, "preview_every", options.preview_every, "Steps from one frame to the next; 0: a twentieth of the chain [0]")
      ->group(output);
  AddChoice(app, "preview_kind", options.preview_kind,
            "What frames show: noisy, or clean for the network's guess at the finished image [noisy]",
            {{"noisy", v1::PREVIEW_KIND_NOISY}, {"clean", v1::PREVIEW_KIND_PREDICTED_CLEAN}})
      ->group(output);
  AddChoice(app, "picture", options.picture,
            "Show the picture in the terminal: auto (where there is one), always or never [auto]",
            {{"auto", PictureMode::kAuto}, {"always", PictureMode::kAlways}, {"never", PictureMode::kNever}})
      ->group(output);
  AddSwitch(app, kEnvironmentPrefix, "quiet", options.quiet, "Print nothing but errors")->group(output);
  AddSwitch(app, kEnvironmentPrefix, "json", options.json, "Print JSON instead of text, a line for each result")
      ->group(output);
}

void AddServerOptions(CLI::App& app, ClientOptions& options) {
  const std::string server = "Server";
  Add(app, "server", options.connection.server, "Host and port, the latter 50051 if it is left out [localhost:50051]")
      ->group(server);
  app.add_flag("--wait{60}", options.wait,
               "Seconds to wait for a server that is not there yet, 60 without a number, as in --wait or --wait=5 [10 "
               "for one on this machine, else 0]")
      ->envname(EnvironmentName(kEnvironmentPrefix, "wait"))
      ->check(CLI::Range(0.0, 86400.0))
      ->transform(FiniteNumber())
      ->group(server);
  Add(app, "timeout", options.call.timeout_seconds, "Seconds that drawing may take; 0: any [0]")
      ->check(CLI::Range(0.0, 1e6))
      ->group(server);
  AddChoice(app, "priority", options.priority, "interactive, or batch for what may wait [interactive]",
            {{"interactive", v1::PRIORITY_INTERACTIVE}, {"batch", v1::PRIORITY_BATCH}})
      ->group(server);
  Add(app, "retries", options.call.retries, "How often to ask again when the server has no place [3]")
      ->check(CLI::Range(0, 1000))
      ->group(server);
  AddSwitch(app, kEnvironmentPrefix, "tls", options.connection.tls, "Speak TLS, with the system's certificates")
      ->group(server);
  Add(app, "tls_ca", options.connection.tls_ca, "Certificates to trust instead, PEM")->group(server);
  Add(app, "tls_cert", options.connection.tls_cert, "This client's certificate chain, PEM, with --tls_key")
      ->group(server);
  Add(app, "tls_key", options.connection.tls_key, "Private key of --tls_cert, PEM")->group(server);
  Add(app, "token_file", options.connection.token_file,
      "File with the token for a server that asks for one; or DENOISE_TOKEN, the token itself, in the environment")
      ->group(server);
  AddSwitch(app, kEnvironmentPrefix, "allow_plain_tokens", options.connection.allow_plain_tokens,
            "Send the token without TLS to other machines too")
      ->group(server);
}

// ---- What belongs together ----

constexpr Command kDraw = Command::kDraw, kGrid = Command::kGrid, kModel = Command::kModel, kBench = Command::kBench,
                  kHealth = Command::kHealth, kWatch = Command::kWatch, kDataset = Command::kDataset;

// Flags that not every command obeys, and the commands that do.
const std::map<std::string, std::set<Command>>& CommandsOf() {
  static const auto* const commands = new std::map<std::string, std::set<Command>>{
      {"--digit", {kDraw, kWatch, kBench}},
      {"--count", {kDraw, kBench}},
      {"--index", {kDraw, kWatch}},
      {"--per_digit", {kGrid, kDataset}},
      {"--seed", {kDraw, kWatch, kGrid, kBench, kDataset}},
      {"--sampler", {kDraw, kWatch, kGrid, kBench, kDataset}},
      {"--steps", {kDraw, kWatch, kGrid, kBench, kDataset}},
      {"--eta", {kDraw, kWatch, kGrid, kBench, kDataset}},
      {"--guidance_scale", {kDraw, kWatch, kGrid, kBench, kDataset}},
      {"--size", {kDraw, kWatch, kGrid, kBench, kDataset}},
      {"--interpolation", {kDraw, kWatch, kGrid, kBench}},
      {"--out", {kDraw, kWatch, kGrid, kBench, kDataset}},
      {"--previews_dir", {kDraw, kWatch}},
      {"--preview_every", {kDraw, kWatch}},
      {"--preview_kind", {kDraw, kWatch}},
      {"--picture", {kDraw, kGrid}},
      {"--quiet", {kDraw, kGrid, kDataset}},
      {"--priority", {kDraw, kWatch, kGrid, kBench, kDataset}},
      {"--retries", {kDraw, kWatch, kGrid}},
  };
  return *commands;
}

std::string NameOf(Command command) {
  switch (command) {
    case Command::kGrid:
      return "--grid";
    case Command::kModel:
      return "--model";
    case Command::kBench:
      return "bench";
    case Command::kHealth:
      return "health";
    case Command::kWatch:
      return "watch";
    case Command::kDataset:
      return "dataset";
    default:
      return "one class";
  }
}

std::vector<std::string> ChosenCommands(const ClientOptions& options) {
  std::vector<std::string> chosen;
  for (const auto& [is_chosen, command] : std::vector<std::pair<bool, Command>>{{options.grid, kGrid},
                                                                                {options.show_model, kModel},
                                                                                {options.bench, kBench},
                                                                                {options.health, kHealth},
                                                                                {options.watch, kWatch},
                                                                                {options.dataset, kDataset}}) {
    if (is_chosen) chosen.push_back(NameOf(command));
  }
  return chosen;
}

absl::Status CheckOutput(const ClientOptions& options) {
  if (options.command() == Command::kDataset && options.out == "-") {
    return absl::InvalidArgumentError("--out: a data set is several files, for which standard output is no place");
  }
  if (options.out == "-" && options.picture == PictureMode::kAlways) {
    return absl::InvalidArgumentError("--picture: always would mix with the PNG of --out - on standard output");
  }
  return absl::OkStatus();
}

}  // namespace

// No flag: other users of this machine could read it in the list of processes.
void ReadToken(ClientOptions& options) {
  if (const char* token = std::getenv("DENOISE_TOKEN"); token != nullptr) options.connection.token = token;
}

Command ClientOptions::command() const {
  if (health) return Command::kHealth;
  if (watch) return Command::kWatch;
  if (dataset) return Command::kDataset;
  if (bench) return Command::kBench;
  if (show_model) return Command::kModel;
  return grid ? Command::kGrid : Command::kDraw;
}

std::string SamplerFlag(v1::Sampler sampler) {
  for (const auto& [name, each] : Samplers()) {
    if (each == sampler) return name;
  }
  return "ddpm";
}

double WaitSeconds(const ClientOptions& options) {
  constexpr double kForAServerThatStarts = 10;
  double seconds = 0;
  if (!options.wait.empty() && absl::SimpleAtod(options.wait, &seconds)) return seconds;
  const std::string& server = options.connection.server;
  if (options.health) return 0;                 // the question is how things are now
  if (!CommandLike(options).empty()) return 0;  // most likely nothing is to be drawn
  return IsLoopback(server) || server == "localhost" ? kForAServerThatStarts : 0;
}

std::string CommandLike(const ClientOptions& options) {
  const std::string& name = options.class_name;
  if (options.command() != Command::kDraw) return "";
  for (const char* flag : {"grid", "help", "model", "version"}) {
    if (name == flag) return absl::StrCat("--", flag);
  }
  return Nearest(name, Subcommands(), std::min(kSlips, name.size() / 2));
}

absl::Status CheckOptions(const ClientOptions& options, const std::set<std::string>& typed) {
  const std::vector<std::string> chosen = ChosenCommands(options);
  if (chosen.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat(absl::StrJoin(chosen, " and "), " exclude each other"));
  }
  const Command command = options.command();
  if ((command == Command::kDraw || command == Command::kWatch) && !options.digit.has_value() &&
      options.class_name.empty()) {
    const bool watch = command == Command::kWatch;
    return absl::InvalidArgumentError(
        absl::StrCat("say which class to draw, by its number or its name, as in `denoise ", watch ? "watch " : "", "7`",
                     watch ? "" : ", or draw them all with --grid"));
  }
  std::vector<std::string> useless;
  for (const std::string& name : typed) {
    const auto found = CommandsOf().find(name);
    if (found == CommandsOf().end() || found->second.count(command) > 0) continue;
    useless.push_back(absl::StrCat(name == "--digit" ? "a class" : name, " has no use with ", NameOf(command),
                                   name == "--count" && command == Command::kGrid ? "; --per_digit has" : ""));
  }
  if (!useless.empty()) return absl::InvalidArgumentError(absl::StrJoin(useless, "\n"));
  if (options.index.has_value() && !options.seed.has_value()) {
    return absl::InvalidArgumentError(
        "--index: tells the images of a seed apart; give the one it was drawn with, by --seed");
  }
  if (typed.count("--index") > 0 && typed.count("--count") > 0) {
    return absl::InvalidArgumentError("--index is one image, --count several: leave one of them out");
  }
  if (command == Command::kGrid && options.per_digit.value_or(1) > kMaxGridRows) {
    return absl::InvalidArgumentError(
        absl::StrCat("--per_digit: must be at most ", kMaxGridRows, " with --grid, got ", *options.per_digit));
  }
  DENOISED_RETURN_IF_ERROR(CheckOutput(options));
  if (command != Command::kDataset && options.size == 0) {  // which the protocol has for the default
    return absl::InvalidArgumentError("--size: must be 32 to 1024 pixels, got 0");
  }
  if (command == Command::kDataset && options.out.empty()) {
    return absl::InvalidArgumentError("dataset needs a folder for its files, as in `denoise dataset --out synthetic`");
  }
  if (command == Command::kDataset && options.size.has_value() && *options.size != 32 && *options.size != 28) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--size of dataset must be 32, as the network draws, or 28, as MNIST has it; got ", *options.size));
  }
  return absl::OkStatus();
}

void AddClientOptions(CLI::App& app, ClientOptions& options) {
  // A hyphen and a number is a class that the server refuses in words, not an unknown flag.
  app.add_option_function<std::string>(
         "digit,--digit", [&options](const std::string& text) { ReadClass(text, options); },
         "The class to draw: its number, which is the digit for a model of digits, or its name, as --model tells it")
      ->envname("DENOISE_DIGIT")
      ->type_name("CLASS");
  app.add_flag("--grid", options.grid, "Draw every class of the model into one picture");
  app.add_flag("--model", options.show_model, "Show the model that the server serves, and its limits");

  AddBench(app, options);
  AddHealth(app, options);
  AddWatch(app, options);
  AddDataset(app, options);
  AddPictureOptions(app, options);
  AddOutputOptions(app, options);
  AddServerOptions(app, options);
}

}  // namespace denoised
