// Draws a handwritten digit: draw 7 --seed 42
#include <getopt.h>
#include <grpcpp/grpcpp.h>
#include <pthread.h>
#include <signal.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

#include "denoised/v1/digit_service.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace {

using denoised::v1::DigitService;
using denoised::v1::GenerateDigitRequest;
using denoised::v1::GenerateDigitResponse;

constexpr auto kTimeout = std::chrono::minutes(5);  // of a call, retries and their waiting counted
constexpr uint32_t kPreviewEvery = 10;              // steps from one frame to the next
constexpr int kInterrupted = 130, kMistyped = 2;

// Where a name has several addresses, as of a headless Service, calls go to all servers in turn that say they are
// healthy. A full queue answers with RESOURCE_EXHAUSTED and says when to come back, which gRPC then does by itself.
constexpr char kServiceConfig[] = R"({
  "loadBalancingConfig": [{"round_robin": {}}],
  "healthCheckConfig": {"serviceName": "denoised.v1.DigitService"},
  "methodConfig": [{
    "name": [{"service": "denoised.v1.DigitService"}],
    "retryPolicy": {
      "maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "10s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["RESOURCE_EXHAUSTED", "UNAVAILABLE"]
    }
  }]
})";

const std::map<std::string, denoised::v1::Sampler> kSamplers = {
    {"ddpm", denoised::v1::SAMPLER_DDPM},
    {"ddim", denoised::v1::SAMPLER_DDIM},
    {"dpm_solver_pp_2m", denoised::v1::SAMPLER_DPM_SOLVER_PP_2M},
};

constexpr char kUsage[] = R"(usage: draw DIGIT [OPTION...]
  --server HOST:PORT   default: localhost:50051
  --seed N             0 to 2^64-1; default: the server draws one
  --sampler NAME       ddpm, ddim or dpm_solver_pp_2m; default: the server's
  --steps N            denoising steps; default: the sampler's own number
  --out FILE           PNG; default: digit-N.png
  --previews DIR       folder for frames on the way
  --ca FILE            speak TLS and trust these certificates, PEM
  --token-file FILE    show this token; takes --ca
  --no-retry           do not wait for a place in a full queue
)";

struct Options {
  int32_t digit = 0;
  std::string server = "localhost:50051";
  std::optional<uint64_t> seed;
  denoised::v1::Sampler sampler = denoised::v1::SAMPLER_UNSPECIFIED;
  uint32_t steps = 0;
  std::string out, previews, ca, token_file;
  bool retry = true;
};

[[noreturn]] void Mistyped(const std::string& message) {
  std::cerr << kUsage << "error: " << message << "\n";
  std::exit(kMistyped);
}

template <typename Number>
Number Parse(const std::string& what, const std::string& text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size() && !text.empty()) return number;
  Mistyped(what + " must be a whole number of its range, got \"" + text + "\"");
}

// NOTE: gRPC takes a port modulo 2^16, and none for 443.
std::string ParseServer(const std::string& text) {
  const size_t colon = text.rfind(':');
  uint16_t port = 0;
  const char *begin = text.data() + colon + 1, *end = text.data() + text.size();
  if (colon == std::string::npos || colon == 0 || std::from_chars(begin, end, port).ptr != end || port == 0) {
    Mistyped("--server must be HOST:PORT, with a port of 1 to 65535, got \"" + text + "\"");
  }
  return text;
}

Options ParseOptions(int argc, char** argv) {
  const option kOptions[] = {{"server", required_argument, nullptr, 's'},
                             {"seed", required_argument, nullptr, 'e'},
                             {"sampler", required_argument, nullptr, 'a'},
                             {"steps", required_argument, nullptr, 't'},
                             {"out", required_argument, nullptr, 'o'},
                             {"previews", required_argument, nullptr, 'p'},
                             {"ca", required_argument, nullptr, 'c'},
                             {"token-file", required_argument, nullptr, 'k'},
                             {"no-retry", no_argument, nullptr, 'n'},
                             {"help", no_argument, nullptr, 'h'},
                             {}};
  Options options;
  for (int option; (option = getopt_long(argc, argv, "", kOptions, nullptr)) != -1;) {
    switch (option) {
      case 's':
        options.server = ParseServer(optarg);
        break;
      case 'e':
        options.seed = Parse<uint64_t>("--seed", optarg);
        break;
      case 'a':
        if (!kSamplers.contains(optarg)) Mistyped("--sampler must be ddpm, ddim or dpm_solver_pp_2m");
        options.sampler = kSamplers.at(optarg);
        break;
      case 't':
        options.steps = Parse<uint32_t>("--steps", optarg);
        break;
      case 'o':
        options.out = optarg;
        break;
      case 'p':
        options.previews = optarg;
        break;
      case 'c':
        options.ca = optarg;
        break;
      case 'k':
        options.token_file = optarg;
        break;
      case 'n':
        options.retry = false;
        break;
      case 'h':
        std::cout << kUsage;
        std::exit(0);
      default:
        std::exit(kMistyped);  // it has been told
    }
  }
  if (argc - optind != 1) Mistyped("which digit? One, 0 to 9");
  options.digit = Parse<int32_t>("the digit", argv[optind]);
  if (!options.token_file.empty() && options.ca.empty()) {
    Mistyped("--token-file takes --ca: without TLS everybody on the way could read the token");
  }
  if (options.out.empty()) options.out = "digit-" + std::to_string(options.digit) + ".png";
  return options;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(file), {});
  if (!file) throw std::runtime_error("cannot read " + path);
  return bytes;
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  if (!(file << bytes).flush()) throw std::runtime_error("cannot write " + path);
}

std::shared_ptr<grpc::ChannelCredentials> MakeCredentials(const Options& options) {
  if (options.ca.empty()) return grpc::InsecureChannelCredentials();
  const std::string certificates = ReadFile(options.ca);
  if (certificates.find("-----BEGIN CERTIFICATE-----") == std::string::npos) {
    throw std::runtime_error("--ca: " + options.ca + " holds no certificate, PEM");
  }
  const auto tls = grpc::SslCredentials({.pem_root_certs = certificates});
  if (options.token_file.empty()) return tls;
  std::string token = ReadFile(options.token_file);
  token.erase(token.find_last_not_of(" \r\n") + 1);
  return grpc::CompositeChannelCredentials(tls, grpc::AccessTokenCredentials(token));
}

std::unique_ptr<DigitService::Stub> Connect(const Options& options) {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(kServiceConfig);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, options.retry ? 1 : 0);
  return DigitService::NewStub(grpc::CreateCustomChannel(options.server, MakeCredentials(options), arguments));
}

GenerateDigitRequest MakeRequest(const Options& options) {
  GenerateDigitRequest request;
  request.set_digit(options.digit);
  if (options.seed.has_value()) request.set_seed(*options.seed);
  request.set_sampler(options.sampler);
  request.set_steps(options.steps);
  if (!options.previews.empty()) {
    request.mutable_preview()->set_every_steps(kPreviewEvery);
    request.mutable_preview()->set_kind(denoised::v1::PREVIEW_KIND_PREDICTED_CLEAN);
  }
  return request;
}

void SavePreview(const GenerateDigitResponse::Preview& preview, const std::string& folder) {
  char name[32];
  std::snprintf(name, sizeof name, "/step-%04u.png", preview.step());
  WriteFile(folder + name, preview.png());
  std::cout << "step " << preview.step() << " of " << preview.total_steps() << ": " << folder << name << std::endl;
}

void SaveImage(const GenerateDigitResponse::Image& image, const GenerateDigitResponse::Accepted& accepted,
               const std::string& path) {
  WriteFile(path, image.png());
  std::cout << path << "  " << image.width() << "x" << image.height() << ", seed " << image.seed() << ", "
            << accepted.steps() << " steps, model " << accepted.model_version() << std::endl;
}

// Until the stream ends. Throws if a picture cannot be written; the context's end then cancels the call.
grpc::Status Draw(const Options& options, grpc::ClientContext& context) {
  const auto stub = Connect(options);
  if (!options.previews.empty()) std::filesystem::create_directories(options.previews);
  context.set_deadline(std::chrono::system_clock::now() + kTimeout);
  const auto reader = stub->GenerateDigit(&context, MakeRequest(options));
  GenerateDigitResponse::Accepted accepted;
  for (GenerateDigitResponse event; reader->Read(&event);) {
    if (event.has_accepted()) accepted = event.accepted();
    if (event.has_preview()) SavePreview(event.preview(), options.previews);
    if (event.has_image()) SaveImage(event.image(), accepted, options.out);
  }
  return reader->Finish();
}

std::string CodeName(grpc::StatusCode code) {
  static constexpr const char* kNames[] = {
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  return kNames[code];
}

// What a status says, with the details that the server has added.
std::string ErrorText(const grpc::Status& status) {
  std::string text = CodeName(status.error_code()) + ": " + status.error_message();
  google::rpc::Status rich;
  if (!rich.ParseFromString(status.error_details())) return text;
  for (const google::protobuf::Any& detail : rich.details()) {
    google::rpc::BadRequest bad_request;
    google::rpc::RetryInfo retry;
    if (detail.UnpackTo(&bad_request)) {
      for (const auto& violation : bad_request.field_violations()) {
        text += "\n  " + violation.field() + ": " + violation.description();
      }
    } else if (detail.UnpackTo(&retry)) {
      char line[64];
      std::snprintf(line, sizeof line, "\n  try again in %.1f s",
                    static_cast<double>(retry.retry_delay().seconds()) + retry.retry_delay().nanos() / 1e9);
      text += line;
    }
  }
  return text;
}

// Draws on a thread of its own, while this one waits for Ctrl-C, which ends the call: the server stops drawing.
int DrawUnlessInterrupted(const Options& options) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGUSR1);  // from the other thread: done
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  grpc::ClientContext context;
  std::string error;
  std::thread drawing([&, waiting = pthread_self()] {
    try {
      const grpc::Status status = Draw(options, context);
      if (!status.ok()) error = ErrorText(status);
    } catch (const std::exception& exception) {
      error = exception.what();
    }
    pthread_kill(waiting, SIGUSR1);
  });
  int signal = 0;
  sigwait(&signals, &signal);
  if (signal == SIGINT) context.TryCancel();
  drawing.join();
  if (error.empty()) return 0;
  std::cerr << "error: " << (signal == SIGINT ? "cancelled" : error) << "\n";
  return signal == SIGINT ? kInterrupted : 1;
}

}  // namespace

int main(int argc, char** argv) { return DrawUnlessInterrupted(ParseOptions(argc, argv)); }
