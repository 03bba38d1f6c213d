#include "server/options.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/command_line/command_line.h"
#include "common/model/precision.h"

namespace denoised {
namespace {

template <typename Value>
CLI::Option* Add(CLI::App& app, const std::string& name, Value& value, const std::string& help) {
  return app.add_option(absl::StrCat("--", name), value, help)->envname(EnvironmentName("DENOISED", name));
}

// Of gRPC's own, -bin and those beginning with grpc- are no names. Others have a meaning of their own: a token as a
// client's name would stand in the log.
CLI::Validator MetadataKey() {
  const auto check = [](std::string& key) -> std::string {
    absl::AsciiStrToLower(&key);
    for (const char* taken : {"authorization", "content-type", "te", "user-agent", "x-request-id", "traceparent",
                              "tracestate", "denoised-caller"}) {
      if (key == taken) {
        return absl::StrCat("must be a header for that alone, got ", key, ", which has another meaning");
      }
    }
    const bool spelt = std::all_of(key.begin(), key.end(),
                                   [](unsigned char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_'; });
    if (spelt && !absl::EndsWith(key, "-bin") && !absl::StartsWith(key, "grpc-")) return "";
    return absl::StrCat(
        "must be a name of metadata: letters, digits, - and _, neither -bin at its end nor grpc- at its "
        "beginning, got ",
        key);
  };
  return CLI::Validator(check, "NAME", "metadata key");
}

void AddModelOptions(CLI::App& app, ServerOptions& options) {
  Add(app, "checkpoint", options.model.checkpoint,
      "Checkpoint written by denoise-train; none: models/mnist.pt of this installation");
  Add(app, "device", options.model.device,
      "Where the network runs: auto (CUDA where there is one), cpu, cuda or cuda:N");
  Add(app, "precision", options.model.precision,
      "Of the network's numbers: auto (on CUDA fp16, on CPUs bf16 where they have instructions for it), fp32, fp16 or "
      "bf16; with fp32, images differ least from device to device")
      ->check(CLI::IsMember(PrecisionNames()));
  Add(app, "threads", options.model.threads, "CPU threads for the network; 0: one per core this process may use")
      ->check(CLI::Range(0, kMaxThreads));
  Add(app, "watch_checkpoint", options.watch_checkpoint_seconds,
      "Seconds between two looks at the checkpoint's file, which is loaded like on SIGHUP when it has been replaced, "
      "or 0 for none")
      ->check(CLI::Range(0.0, 86400.0));
  Add(app, "stall_timeout", options.stall_timeout_seconds,
      "Seconds that one denoising step may take before the engine counts as stalled: its calls end, it is built anew "
      "once, and else the process ends; 0: for ever")
      ->check(CLI::Range(0.0, 86400.0));
  Add(app, "inject_fault", options.model.fault,
      "For tests: fail@STEP, throw@STEP, hang@STEP, poison@SEED, nan@SEED, oom@ROWS or wrong@ENGINES")
      ->group("");
}

void AddPortOptions(CLI::App& app, ServerOptions& options) {
  Add(app, "listen", options.listen,
      "Address and port for gRPC, or unix:PATH; port 0 picks a free one, 0.0.0.0 and [::] are all addresses, IPv6 too");
  Add(app, "metrics_listen", options.metrics_listen,
      "Address and port for /metrics and /healthz over HTTP; port 0 picks a free one, \"off\" turns it off");
  Add(app, "http_listen", options.http_listen,
      "Address and port for the page and the service as JSON over HTTP, or HTTPS with --tls_cert, such as "
      "127.0.0.1:8080; port 0 picks a free one, \"off\" turns it off")
      ->type_name("TEXT");
  Add(app, "max_connections", options.transport.max_connections,
      "Connections to the gRPC port at a time; more are closed at once; never so many that descriptors run short")
      ->check(CLI::Range(1, 1'000'000));
  Add(app, "max_calls", options.transport.max_calls,
      "Calls that may be open over all connections, whether asked for in full or not; beyond it the connections "
      "with the most are cut; never less than one connection may have")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000'000}));
  Add(app, "max_connection_age", options.transport.max_connection_age_seconds,
      "Seconds, a tenth more or less, after which a client is told to make its next calls on a new connection, "
      "where it sees new replicas; 0: never")
      ->check(CLI::Range(0.0, 1e6));
  Add(app, "max_connection_age_grace", options.transport.max_connection_age_grace_seconds,
      "Seconds that calls on an old connection get after that; more than the longest wait and chain together")
      ->check(CLI::Range(0.0, 1e6));
  Add(app, "probe_interval", options.probe.interval_seconds,
      "Seconds between the server's calls of its own gRPC port, three of which must fail in a row for /livez "
      "to say so; 0: none, and /livez always says yes; as often as systemd's watchdog needs, where that is on")
      ->check(CLI::Range(0.0, 3600.0));
}

void AddChannelz(CLI::App& app, ServerOptions& options) {
  AddSwitch(app, "DENOISED", "channelz", options.transport.channelz,
            "Show gRPC's connections and calls by its service Channelz, to tokens with the role admin, or without "
            "--tokens to "
            "callers on this machine");
}

void AddQueueOptions(CLI::App& app, ServerOptions& options) {
  Add(app, "max_batch_rows", options.model.max_batch_rows,
      "Network rows in one denoising step at most, 2 to 4096; a guided image takes two; how many pay, up to that, is "
      "measured at start; 0: 16 on the CPU, or as many as cores, on CUDA two for each multiprocessor")
      ->check(CLI::Range(0, 4096));
  Add(app, "max_queued_images", options.model.max_queued_images,
      "Images that may wait beyond those that can be drawn at once; more are refused with RESOURCE_EXHAUSTED")
      ->check(CLI::Range(0, 1'000'000));
  Add(app, "max_client_images", options.model.max_client_images,
      "Images that one client may have here, so that nobody can take every place; more are refused with "
      "RESOURCE_EXHAUSTED; 0: seven eighths of all places")
      ->check(CLI::Range(0, 1'100'000));
  Add(app, "max_queued_steps", options.model.max_queued_steps,
      "Denoising steps that may be due together, guided ones counted twice; more are refused with RESOURCE_EXHAUSTED; "
      "0: 1000 for each image that may be here")
      ->check(CLI::Range(int64_t{0}, int64_t{1'000'000'000'000}));
  Add(app, "max_images_per_request", options.service.max_images_per_request,
      "Upper limit of a request's count; never more than may be drawn and wait together")
      ->check(CLI::Range(1, 100'000));
}

void AddReaderOptions(CLI::App& app, ServerOptions& options) {
  Add(app, "write_timeout", options.write_timeout_seconds,
      "Seconds that writing may wait for a client to read before its call is cancelled; over the whole call, beyond "
      "what --min_read_rate allows")
      ->check(CLI::Range(0.001, 3600.0));
  Add(app, "min_read_rate", options.service.read_limits.bytes_per_second,
      "Bytes a second below which a client uses up its --write_timeout")
      ->check(CLI::Range(1.0, 1e9));
  Add(app, "max_output_bytes", options.service.max_output_bytes,
      "Bytes that may wait for clients to read, all calls together; beyond that there are no previews, and no more "
      "requests if their images could take more, or 32 MiB where that is more")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  Add(app, "encoder_threads", options.service.encoder_threads,
      "Threads that make PNGs; 0: a quarter of the cores this process may use, at least one")
      ->check(CLI::Range(0, kMaxThreads));
}

void AddAccessOptions(CLI::App& app, ServerOptions& options) {
  Add(app, "tls_cert", options.tls.cert,
      "Certificate chain, PEM; with --tls_key, turns TLS on for --listen and --http_listen; read again when it "
      "changes");
  Add(app, "tls_key", options.tls.key, "Private key of --tls_cert, PEM");
  Add(app, "tls_client_ca", options.tls.client_ca,
      "Certificates that clients' own must be signed by, PEM; turns mutual TLS on, for both ports");
  Add(app, "tokens", options.access.tokens,
      "File of tokens that calls must show one of, with a name, the token's SHA-256 and a role in each line; it "
      "is read again when it changes; none: whoever reaches the port may draw");
  AddSwitch(app, "DENOISED", "allow_plain_tokens", options.access.allow_plain_tokens,
            "Take tokens without TLS from other machines too, where something in front of this server speaks TLS");
  Add(app, "client_header", options.access.client_header,
      "Metadata that names the client for its fair share, such as x-client-id; only where a proxy in front sets it, "
      "since whoever may set it chooses whose share to use; none: a client certificate's name, or else the address")
      ->transform(MetadataKey());
}

void AddTraceOptions(CLI::App& app, ServerOptions& options) {
  Add(app, "otlp_endpoint", options.otlp.endpoint,
      "Host and port where an OpenTelemetry collector takes spans of calls, OTLP by gRPC, such as localhost:4317, or "
      "https://HOST:PORT with TLS; none: no spans are made");
  Add(app, "otlp_ca", options.otlp.ca,
      "Certificates that the collector's own must be signed by, PEM; none: the system's");
  Add(app, "otlp_sample_ratio", options.otlp.sample_ratio,
      "Part of the calls that become spans, of those whose client takes part in no trace; 0 to 1")
      ->check(CLI::Range(0.0, 1.0));
}

}  // namespace

void AddServerOptions(CLI::App& app, ServerOptions& options) {
  app.option_defaults()->always_capture_default();
  AddModelOptions(app, options);
  AddPortOptions(app, options);
  AddChannelz(app, options);
  AddQueueOptions(app, options);
  AddReaderOptions(app, options);
  Add(app, "lame_duck", options.lame_duck_seconds,
      "Seconds between SIGTERM, when health turns NOT_SERVING, and the first refused request")
      ->check(CLI::Range(0.0, 3600.0));
  Add(app, "drain_timeout", options.drain_timeout_seconds,
      "Seconds at most for finishing what was admitted after that, before it is dropped and the exit status is "
      "3; it takes only as long as it needs; the default is more than a full queue takes on two cores")
      ->check(CLI::Range(0.0, 86400.0));
  AddAccessOptions(app, options);
  Add(app, "log_level", options.logging.level, "Least level that is logged: debug, info, warn, error or off")
      ->check(CLI::IsMember({"debug", "info", "warn", "error", "off"}));
  const auto set_format = [&options](const std::string& name) {
    options.logging.format = name == "json" ? LogFormat::kJson : LogFormat::kText;
  };
  app.add_option_function<std::string>(
         "--log_format", set_format,
         "Of each line on stderr: text, or json, an object with time, level, message and, for a call, who made it")
      ->envname(EnvironmentName("DENOISED", "log_format"))
      ->check(CLI::IsMember({"text", "json"}))
      ->default_str("text");
  AddTraceOptions(app, options);
}

}  // namespace denoised
