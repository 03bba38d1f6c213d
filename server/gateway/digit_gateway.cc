#include "server/gateway/digit_gateway.h"

#include <grpcpp/server_builder.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/access/client_identity.h"
#include "server/access/https_contexts.h"
#include "server/gateway/digit_query.h"
#include "server/gateway/json_answer.h"
#include "server/gateway/page.h"

namespace denoised {
namespace {

constexpr char kPicturePath[] = "/v1/digits/";
constexpr char kPictureType[] = ".png";
constexpr size_t kMaxShown = 300;  // bytes of a refused request, and of the reason, in the log

// What gRPC takes as the value of metadata.
bool IsMetadata(const std::string& value) {
  return std::all_of(value.begin(), value.end(), [](unsigned char c) { return absl::ascii_isprint(c); });
}

// A header's value; nothing if there is none, or more than one.
std::optional<std::string> HeaderOf(const HttpRequest& request, const std::string& name) {
  const auto [begin, end] = request.headers.equal_range(name);
  if (begin == end || std::next(begin) != end) return std::nullopt;
  return begin->second;
}

// NOTE: other sites' pages can have a browser send text and forms, but not this type without being allowed to.
bool IsJson(const HttpRequest& request) {
  return absl::StartsWithIgnoreCase(HeaderOf(request, "content-type").value_or(""), "application/json");
}

// As gRPC writes addresses.
std::string GrpcPeer(const HttpRequest& request) {
  return absl::StrCat(absl::StartsWith(request.peer, "[") ? "ipv6:" : "ipv4:", request.peer);
}

// Nothing without certificates.
std::optional<HttpTls> TlsFor(const GatewayOptions& options) {
  if (options.certificates == nullptr) return std::nullopt;
  HttpTls tls = {
      .context = [contexts = std::make_shared<HttpsContexts>(options.certificates)] { return contexts->newest(); },
      .client_name = NameInCertificate};
  if (options.on_failed_handshake) {
    tls.on_failure = [tell = options.on_failed_handshake](const std::string& peer, const std::string& why) {
      tell(absl::StrCat(why, " (", peer, " at --http_listen)"));
    };
  }
  return tls;
}

// Calls have a line of their own, and are known by their id.
bool IsCall(const HttpResponse& answer) {
  return std::any_of(answer.headers.begin(), answer.headers.end(),
                     [](const auto& header) { return header.first == kRequestIdHeader; });
}

std::function<void(const HttpRequest&, const HttpResponse&)> RefusalsFor(const GatewayOptions& options) {
  if (!options.on_refused) return nullptr;
  return [tell = options.on_refused](const HttpRequest& request, const HttpResponse& answer) {
    if (IsCall(answer)) return;
    const std::string asked = request.method.empty() ? "HTTP" : absl::StrCat(request.method, " ", request.path);
    const std::string& why = answer.error.empty() ? answer.body : answer.error;
    tell(absl::StrCat(asked.substr(0, kMaxShown), ": ", answer.status, ": ",
                      absl::StripTrailingAsciiWhitespace(why.substr(0, kMaxShown))),
         request.peer);
  };
}

HttpResponse ModelAnswer(const v1::GetModelResponse& model) {
  return {.content_type = "application/json", .body = JsonLine(model), .headers = {{"Cache-Control", "no-cache"}}};
}

constexpr auto kNobody = [] {};

// A server of its own for calls within the process, so that those of clients of HTTP are finished while the other
// server shuts down, which cuts off calls of its own process.
class InnerService final : public v1::DigitService::CallbackService {
 public:
  explicit InnerService(v1::DigitService::CallbackService& service) : service_(service) {}

  grpc::ServerWriteReactor<v1::GenerateDigitResponse>* GenerateDigit(grpc::CallbackServerContext* context,
                                                                     const v1::GenerateDigitRequest* request) override {
    return service_.GenerateDigit(context, request);
  }
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context, const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override {
    return service_.GetModel(context, request, response);
  }

 private:
  v1::DigitService::CallbackService& service_;
};

// A GetModel call.
struct ModelCall {
  grpc::ClientContext context;
  v1::GetModelRequest request;
  v1::GetModelResponse response;
};

}  // namespace

DigitGateway::DigitGateway(const GatewayOptions& options, v1::DigitService::CallbackService& service,
                           const AccessControl& access, std::function<GatewayStatus()> status)
    : options_(options),
      access_(access),
      status_(std::move(status)),
      inner_service_(std::make_unique<InnerService>(service)) {}

absl::StatusOr<std::unique_ptr<DigitGateway>> DigitGateway::Start(const GatewayOptions& options,
                                                                  v1::DigitService::CallbackService& service,
                                                                  Interceptors interceptors,
                                                                  const AccessControl& access,
                                                                  std::function<GatewayStatus()> status) {
  std::unique_ptr<DigitGateway> gateway(new DigitGateway(options, service, access, std::move(status)));
  grpc::ServerBuilder builder;
  builder.RegisterService(gateway->inner_service_.get());
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  gateway->inner_server_ = builder.BuildAndStart();
  if (gateway->inner_server_ == nullptr) return absl::InternalError("gRPC does not start within the process");
  gateway->stub_ = v1::DigitService::NewStub(gateway->inner_server_->InProcessChannel(grpc::ChannelArguments()));
  absl::StatusOr<std::unique_ptr<HttpServer>> server =
      HttpServer::Start({.host = options.host,
                         .port = options.port,
                         .flag = "--http_listen",
                         .tls = TlsFor(options),
                         .piece_timeout = options.piece_timeout,
                         .piece_bytes_per_second = options.piece_bytes_per_second,
                         .on_error = RefusalsFor(options)},
                        gateway->Routes());
  if (!server.ok()) return server.status();
  gateway->server_ = *std::move(server);
  return gateway;
}

// NOTE: the server outlives its last call, whose responder belongs to it.
DigitGateway::~DigitGateway() {
  StopAdmitting();
  if (server_ != nullptr) server_->CloseConnections();
  const absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(
      +[](int* calls) { return *calls == 0; }, &calls_));
}

void DigitGateway::StopAdmitting() {
  const absl::MutexLock lock(&mu_);
  stopped_ = true;
}

absl::Status DigitGateway::Enter() {
  const absl::MutexLock lock(&mu_);
  if (stopped_) return absl::UnavailableError("the server is shutting down; try another replica");
  ++calls_;
  return absl::OkStatus();
}

void DigitGateway::Leave() {
  const absl::MutexLock lock(&mu_);
  --calls_;
}

HttpRoutes DigitGateway::Routes() {
  HttpRoutes routes;
  AddPage(routes);
  routes.AddLater("POST", "/v1/digits:generate", [this](const HttpRequest& request, auto responder) {
    return Generate(request, std::move(responder));
  });
  routes.AddLater("GET", absl::StrCat(kPicturePath, "*", kPictureType),
                  [this](const HttpRequest& request, auto responder) { return Draw(request, std::move(responder)); });
  routes.AddLater("GET", "/v1/model", [this](const HttpRequest& request, auto responder) {
    return DescribeModel(request, std::move(responder));
  });
  routes.Add("GET", "/v1/status", [this](const HttpRequest& request) { return DescribeStatus(request); });
  return routes;
}

// ---- Drawing ----

std::function<void()> DigitGateway::Generate(const HttpRequest& request, std::shared_ptr<HttpResponder> responder) {
  if (!IsJson(request)) {
    HttpResponse answer =
        ErrorAnswer(absl::InvalidArgumentError("send JSON, with the header Content-Type: application/json"));
    answer.status = 415;
    responder->Send(std::move(answer));
    return kNobody;
  }
  const absl::StatusOr<v1::GenerateDigitRequest> drawing = ParseDigitBody(request.body);
  if (!drawing.ok()) {
    responder->Send(ErrorAnswer(drawing.status()));
    return kNobody;
  }
  return Run(std::make_shared<DigitLinesCall>(std::move(responder)), *drawing, request);
}

std::function<void()> DigitGateway::Draw(const HttpRequest& request, std::shared_ptr<HttpResponder> responder) {
  const size_t begin = std::string(kPicturePath).size();
  const std::string picture =
      request.path.substr(begin, request.path.size() - begin - std::string(kPictureType).size());
  const absl::StatusOr<v1::GenerateDigitRequest> drawing = ParseDigitQuery(picture, request.query);
  if (!drawing.ok()) {
    responder->Send(ErrorAnswer(drawing.status()));
    return kNobody;
  }
  return Run(std::make_shared<DigitPictureCall>(std::move(responder)), *drawing, request);
}

// NOTE: what is returned holds the call weakly, since the call holds the connection that holds it.
std::function<void()> DigitGateway::Run(const std::shared_ptr<DigitCall>& call, const v1::GenerateDigitRequest& drawing,
                                        const HttpRequest& request) {
  if (const absl::Status entered = Enter(); !entered.ok()) {
    call->Refuse(entered);
    return kNobody;
  }
  call->Start(*stub_, drawing, MetadataOf(request), [this] { Leave(); });
  return [weak = std::weak_ptr(call)] {
    if (const std::shared_ptr<DigitCall> alive = weak.lock()) alive->Cancel();
  };
}

// ---- The rest ----

std::function<void()> DigitGateway::DescribeModel(const HttpRequest& request,
                                                  std::shared_ptr<HttpResponder> responder) {
  if (const absl::Status entered = Enter(); !entered.ok()) {
    responder->Send(ErrorAnswer(entered));
    return kNobody;
  }
  const auto call = std::make_shared<ModelCall>();
  for (const auto& [key, value] : MetadataOf(request)) call->context.AddMetadata(key, value);
  stub_->async()->GetModel(
      &call->context, &call->request, &call->response,
      [this, call, responder = std::move(responder)](const grpc::Status& status) mutable {
        std::exchange(responder, nullptr)
            ->Send(NamedAfter(call->context, status.ok() ? ModelAnswer(call->response) : ErrorAnswer(status)));
        Leave();
      });
  return kNobody;
}

HttpResponse DigitGateway::DescribeStatus(const HttpRequest& request) const {
  const absl::StatusOr<std::string> client = access_.AdmitToken(HeaderOf(request, "authorization"), Role::kDraw);
  if (!client.ok()) return ErrorAnswer(client.status());
  const GatewayStatus status = status_();
  const nlohmann::ordered_json json = {{"queuedImages", status.queued_images},
                                       {"denoisingImages", status.denoising_images},
                                       {"oldestWaitSeconds", status.oldest_wait_seconds},
                                       {"stepRows", status.step_rows},
                                       {"stepsTotal", status.steps},
                                       {"stepRowsTotal", status.step_rows_total},
                                       {"stepSecondsTotal", status.step_seconds_total}};
  return {.content_type = "application/json",
          .body = absl::StrCat(json.dump(), "\n"),
          .headers = {{"Cache-Control", "no-store"}}};
}

CallMetadata DigitGateway::MetadataOf(const HttpRequest& request) const {
  CallMetadata metadata = CallerMetadata(GrpcPeer(request), request.client_name);
  for (const std::string& name : {std::string("authorization"), std::string("x-request-id"), std::string("traceparent"),
                                  std::string("tracestate"), options_.client_header}) {
    const auto [begin, end] = request.headers.equal_range(name);
    for (auto header = begin; header != end; ++header) {
      if (IsMetadata(header->second)) metadata.emplace_back(name, header->second);
    }
  }
  return metadata;
}

}  // namespace denoised
