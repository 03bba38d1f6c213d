#include "client/calls/digit_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/calls/error_text.h"
#include "common/support/clock.h"
#include "common/support/file.h"
#include "common/support/loopback.h"
#include "common/support/pem_files.h"
#include "common/support/status_macros.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace denoised {
namespace {

using std::chrono::system_clock;

constexpr uint64_t kMaxTokenBytes = 4096;
constexpr std::chrono::milliseconds kLook(100);                      // between two looks at what changes elsewhere
constexpr char kGrpcKeepaliveText[] = "keepalive watchdog timeout";  // of a call whose server answers no ping
constexpr int kMostDoublings = 4;  // of the wait that a full queue asks for: what was too short once, may be again

CallOptions OneLook() {
  CallOptions options;
  options.timeout_seconds = 1;
  return options;
}

bool UsesTls(const Connection& connection) {
  return connection.tls || !connection.tls_ca.empty() || !connection.tls_cert.empty();
}

absl::StatusOr<TlsFiles> ReadTlsFiles(const Connection& connection) {
  if (connection.tls_cert.empty() != connection.tls_key.empty()) {
    return absl::InvalidArgumentError("--tls_cert and --tls_key belong together: give both, or neither");
  }
  TlsFiles tls = {.enabled = UsesTls(connection), .ca = "", .cert = "", .key = ""};
  if (!connection.tls_ca.empty()) {
    DENOISED_ASSIGN_OR_RETURN(tls.ca, ReadPem("--tls_ca", connection.tls_ca));
    DENOISED_RETURN_IF_ERROR(ReadCertificates("--tls_ca", connection.tls_ca, tls.ca).status());
  }
  if (connection.tls_cert.empty()) return tls;
  DENOISED_ASSIGN_OR_RETURN(tls.cert, ReadPem("--tls_cert", connection.tls_cert));
  DENOISED_ASSIGN_OR_RETURN(tls.key, ReadPem("--tls_key", connection.tls_key));
  DENOISED_ASSIGN_OR_RETURN(const std::vector<Certificate> chain,
                            ReadCertificates("--tls_cert", connection.tls_cert, tls.cert));
  DENOISED_RETURN_IF_ERROR(CheckKeyPair(chain.front().get(), tls.key, connection.tls_cert, connection.tls_key));
  return tls;
}

std::shared_ptr<grpc::ChannelCredentials> MakeCredentials(const TlsFiles& tls) {
  if (!tls.enabled) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = tls.ca;
  options.pem_cert_chain = tls.cert;
  options.pem_private_key = tls.key;
  return grpc::SslCredentials(options);
}

// NOTE: the errors do not repeat it. gRPC would end the process over characters that metadata cannot hold.
absl::StatusOr<std::string> ReadToken(const Connection& connection, const ServerAddress& address) {
  std::string token = connection.token;
  const std::string source = connection.token_file.empty() ? "DENOISE_TOKEN" : "--token_file";
  if (!connection.token_file.empty()) {
    absl::StatusOr<std::string> file = ReadFile(connection.token_file, kMaxTokenBytes);
    if (!file.ok()) return absl::Status(file.status().code(), absl::StrCat("--token_file: ", file.status().message()));
    token = *std::move(file);
  }
  absl::StripAsciiWhitespace(&token);
  if (token.empty() && !connection.token_file.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--token_file: ", connection.token_file, " is empty"));
  }
  const bool printable =
      std::all_of(token.begin(), token.end(), [](unsigned char c) { return absl::ascii_isgraph(c); });
  if (!printable) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": a token is one word of printable ASCII characters, and this is not"));
  }
  if (!token.empty() && !UsesTls(connection) && !connection.allow_plain_tokens && !IsLoopback(address.target)) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": without --tls the token would reach ", address.target,
                     " readable for everybody on the way; use --tls, or --allow_plain_tokens where that is safe"));
  }
  return token;
}

// A proxy that $http_proxy names would have this machine's calls, and a token in plain text with them: gRPC excepts no
// address of its own accord.
grpc::ChannelArguments ArgumentsFor(const std::string& target, const Connection& connection) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, static_cast<int>(connection.connect_timeout.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(connection.keepalive_time.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(connection.keepalive_timeout.count()));
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // as many as it takes
  if (IsLoopback(target)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

system_clock::time_point DeadlineAfter(double timeout_seconds) {
  if (timeout_seconds <= 0) return system_clock::time_point::max();
  return system_clock::now() +
         std::chrono::duration_cast<system_clock::duration>(std::chrono::duration<double>(timeout_seconds));
}

}  // namespace

// Makes a call's context known to Cancel while the call runs.
class DigitClient::Call {
 public:
  Call(DigitClient& client, system_clock::time_point deadline) : client_(client) {
    context.set_deadline(deadline);
    if (!client.token_.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", client.token_));
    const absl::MutexLock lock(&client_.mu_);
    client_.running_.insert(&context);
    if (client_.cancelled_) context.TryCancel();
  }
  ~Call() {
    const absl::MutexLock lock(&client_.mu_);
    client_.running_.erase(&context);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  grpc::ClientContext context;

 private:
  DigitClient& client_;
};

// Deletes itself when it is done.
class DigitClient::AsyncCall : public grpc::ClientReadReactor<v1::GenerateDigitResponse> {
 public:
  AsyncCall(DigitClient& client, v1::GenerateDigitRequest request, CallOptions options, EventHandler handler,
            std::function<void(const absl::Status&)> done)
      : client_(client),
        request_(std::move(request)),
        options_(std::move(options)),
        handler_(std::move(handler)),
        done_(std::move(done)),
        call_(client, DeadlineAfter(options_.timeout_seconds)) {}

  void Start() {
    client_.stub_->async()->GenerateDigit(&call_.context, &request_, this);
    StartRead(&event_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    answered_ = true;
    if (handled_.ok()) {
      handled_ = handler_(event_);
      if (!handled_.ok()) call_.context.TryCancel();
    }
    StartRead(&event_);
  }

  void OnDone(const grpc::Status& status) override {
    const absl::Status result = handled_.ok() ? client_.ToAbslStatus(status, options_, answered_) : handled_;
    const std::function<void(const absl::Status&)> done = std::move(done_);
    delete this;
    done(result);
  }

 private:
  DigitClient& client_;
  const v1::GenerateDigitRequest request_;
  const CallOptions options_;
  const EventHandler handler_;
  std::function<void(const absl::Status&)> done_;
  Call call_;
  v1::GenerateDigitResponse event_;
  absl::Status handled_;
  bool answered_ = false;
};

DigitClient::DigitClient(ServerAddress address, TlsFiles tls, std::shared_ptr<grpc::Channel> channel, std::string token)
    : address_(std::move(address)),
      tls_(std::move(tls)),
      channel_(std::move(channel)),
      stub_(v1::DigitService::NewStub(channel_)),
      token_(std::move(token)) {}

absl::StatusOr<std::unique_ptr<DigitClient>> DigitClient::Connect(const Connection& connection) {
  DENOISED_ASSIGN_OR_RETURN(ServerAddress address, ServerAddress::Parse(connection.server));
  DENOISED_ASSIGN_OR_RETURN(TlsFiles tls, ReadTlsFiles(connection));
  DENOISED_ASSIGN_OR_RETURN(std::string token, ReadToken(connection, address));
  const std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(address.target, MakeCredentials(tls), ArgumentsFor(address.target, connection));
  return std::unique_ptr<DigitClient>(new DigitClient(std::move(address), std::move(tls), channel, std::move(token)));
}

// How long to go on, and telling once why.
class DigitClient::Wait {
 public:
  explicit Wait(const WaitOptions& options) : options_(options), seconds_(options.wait_seconds) {}

  std::chrono::steady_clock::time_point deadline() const {
    if (options_.timeout_seconds <= 0) return std::chrono::steady_clock::time_point::max();
    return start_ + Nanoseconds(options_.timeout_seconds);
  }
  bool late() const { return std::chrono::steady_clock::now() >= deadline(); }
  bool patient() const { return SecondsSince(start_) < seconds_; }
  // Each text once.
  void Tell(const std::string& what) { Tell(what, seconds_); }
  void ForItsModel() { seconds_ = options_.loading_seconds; }
  // Whether there is still hope for somebody who listens, but says nothing.
  bool HopesFor(const std::string& server) {
    const auto now = std::chrono::steady_clock::now();
    if (!silent_since_.has_value()) {
      silent_since_ = now;  // it may have come just now
    } else {
      Tell(absl::StrCat("somebody listens at ", server, ", but says nothing yet"), options_.silent_seconds);
    }
    return patient() || now - *silent_since_ < Nanoseconds(options_.silent_seconds);
  }

 private:
  void Tell(const std::string& what, double seconds) {
    if (what == std::exchange(told_, what) || !options_.on_wait) return;
    options_.on_wait(absl::StrFormat("%s; waiting up to %g s", what, std::max(seconds, seconds_)));
  }

  const WaitOptions& options_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::optional<std::chrono::steady_clock::time_point> silent_since_;
  double seconds_;
  std::string told_;
};

absl::Status DigitClient::AwaitServer(const WaitOptions& options) {
  Wait wait(options);
  while (!TryToConnect(wait.deadline())) {
    if (cancelled()) return absl::CancelledError(kCancelledText);
    if (wait.late()) {
      return absl::DeadlineExceededError(absl::StrCat("--timeout: no connection with ", server_, " in time"));
    }
    const Diagnosis diagnosis = Diagnose(address_, tls_);
    switch (diagnosis.obstacle) {
      case Obstacle::kNone:  // it may have come just now
        if (wait.HopesFor(server_)) break;
        return absl::UnavailableError(absl::StrCat("somebody listens at ", server_,
                                                   ", but does not answer as a server of "
                                                   "gRPC would"));
      case Obstacle::kNobodyListens:
      case Obstacle::kNoSuchHost:
        if (!wait.patient()) return absl::UnavailableError(diagnosis.text);
        wait.Tell(absl::StrCat("no server at ", server_, " yet"));
        break;
      default:
        return absl::UnavailableError(diagnosis.text);
    }
    // Not by a plain pause: a channel connects only while somebody waits for it, and else looks up every five seconds.
    grpc::experimental::ChannelResetConnectionBackoff(channel_.get());
    channel_->WaitForStateChange(GRPC_CHANNEL_TRANSIENT_FAILURE, system_clock::now() + kLook);
  }
  wait.ForItsModel();
  for (bool until_serving = options.until_serving; wait.patient() && !wait.late();) {
    const bool has_model = HasModel();
    if (has_model && (!until_serving || Serves())) break;
    wait.Tell(absl::StrCat("the server at ", server_, has_model ? " does not serve yet" : " is loading its model"));
    until_serving = true;  // it says so a moment after it has its model
    if (!WaitUnlessCancelled(kLook)) return absl::CancelledError(kCancelledText);
  }
  return absl::OkStatus();
}

// NOTE: health would say no of a server that drains as well, which still draws. But whoever has no token hears of
// health alone.
bool DigitClient::HasModel() {
  const absl::Status status = GetModel(OneLook()).status();
  if (absl::IsUnauthenticated(status)) return Serves();
  return !absl::IsUnavailable(status);
}

// As far as it says. False only if it says no.
bool DigitClient::Serves() { return CheckHealth(OneLook()).value_or("") != "NOT_SERVING"; }

// False when it failed, or the time is over.
bool DigitClient::TryToConnect(std::chrono::steady_clock::time_point deadline) {
  while (!cancelled() && std::chrono::steady_clock::now() < deadline) {
    const grpc_connectivity_state state = channel_->GetState(/*try_to_connect=*/true);
    if (state == GRPC_CHANNEL_READY) return true;
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE) return false;
    channel_->WaitForStateChange(state, system_clock::now() + kLook);
  }
  return false;
}

bool DigitClient::cancelled() {
  const absl::MutexLock lock(&mu_);
  return cancelled_;
}

absl::Status DigitClient::GenerateDigit(const v1::GenerateDigitRequest& request, const CallOptions& options,
                                        const EventHandler& handler) {
  const system_clock::time_point deadline = DeadlineAfter(options.timeout_seconds);
  for (int retry = 0;; ++retry) {
    std::chrono::nanoseconds delay{};
    absl::Status status = GenerateOnce(request, options, deadline, handler, &delay);
    delay *= int64_t{1} << std::min(retry, kMostDoublings);
    const bool worth_waiting =
        delay > std::chrono::nanoseconds(0) && retry < options.retries && deadline - system_clock::now() > delay;
    if (!worth_waiting) return status;
    if (options.on_wait) options.on_wait(Seconds(delay));
    if (!WaitUnlessCancelled(delay)) return absl::CancelledError(kCancelledText);
  }
}

absl::Status DigitClient::GenerateOnce(const v1::GenerateDigitRequest& request, const CallOptions& options,
                                       system_clock::time_point deadline, const EventHandler& handler,
                                       std::chrono::nanoseconds* retry_delay) {
  Call call(*this, deadline);
  const auto reader = stub_->GenerateDigit(&call.context, request);
  absl::Status handled;
  bool answered = false;
  for (v1::GenerateDigitResponse event; reader->Read(&event);) {
    answered = true;
    if (!handled.ok()) continue;
    handled = handler(event);
    if (!handled.ok()) call.context.TryCancel();
  }
  const grpc::Status status = reader->Finish();
  if (!handled.ok()) return handled;
  *retry_delay = RetryDelay(status);
  return ToAbslStatus(status, options, answered);
}

void DigitClient::StartGenerateDigit(const v1::GenerateDigitRequest& request, const CallOptions& options,
                                     EventHandler handler, std::function<void(const absl::Status&)> done) {
  (new AsyncCall(*this, request, options, std::move(handler), std::move(done)))->Start();
}

absl::StatusOr<v1::GetModelResponse> DigitClient::GetModel(const CallOptions& options) {
  Call call(*this, DeadlineAfter(options.timeout_seconds));
  v1::GetModelResponse response;
  DENOISED_RETURN_IF_ERROR(ToAbslStatus(stub_->GetModel(&call.context, {}, &response), options, /*answered=*/false));
  return response;
}

absl::StatusOr<std::string> DigitClient::CheckHealth(const CallOptions& options) {
  Call call(*this, DeadlineAfter(options.timeout_seconds));
  grpc::health::v1::HealthCheckResponse response;
  const std::unique_ptr<grpc::health::v1::Health::Stub> health = grpc::health::v1::Health::NewStub(channel_);
  const grpc::Status status = health->Check(&call.context, {}, &response);
  DENOISED_RETURN_IF_ERROR(ToAbslStatus(status, options, /*answered=*/false));
  return grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status());
}

// `answered`: at least one event came.
absl::Status DigitClient::ToAbslStatus(const grpc::Status& status, const CallOptions& options, bool answered) {
  if (status.ok()) return absl::OkStatus();
  {
    const absl::MutexLock lock(&mu_);
    if (cancelled_) return absl::CancelledError(kCancelledText);
  }
  Reach reach = Reach::kAnswered;
  const bool unanswered_ping = status.error_message() == kGrpcKeepaliveText;
  if (unanswered_ping) {
    reach = Reach::kLost;
  } else if (status.error_code() == grpc::StatusCode::UNAVAILABLE && channel_->GetState(false) != GRPC_CHANNEL_READY) {
    reach = answered ? Reach::kLost : Reach::kUnreachable;
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      ErrorText(status, server_, reach, options.count_flag));
}

bool DigitClient::WaitUnlessCancelled(std::chrono::nanoseconds duration) {
  const absl::MutexLock lock(&mu_);
  return !mu_.AwaitWithTimeout(absl::Condition(&cancelled_), absl::FromChrono(duration));
}

void DigitClient::Cancel() {
  const absl::MutexLock lock(&mu_);
  cancelled_ = true;
  for (grpc::ClientContext* context : running_) context->TryCancel();
}

}  // namespace denoised
