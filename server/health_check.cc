#include "server/health_check.h"

#include <errno.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/support/file.h"
#include "common/support/quoted.h"
#include "common/support/status_macros.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/transport/listen_address.h"

namespace denoised {
namespace {

constexpr uint64_t kMaxPemBytes = 1 << 20;
constexpr size_t kMaxShown = 200;
constexpr char kNoCertificate[] =
    "; it was shown the server's own certificate, which --tls_client_ca must have signed: turn --metrics_listen on, "
    "at a port of its own, and that is asked instead";

// As gRPC's clients write it.
absl::StatusOr<std::string> Target(const std::string& listen) {
  DENOISED_ASSIGN_OR_RETURN(const ListenAddress address, ListenAddress::Parse("--listen", listen));
  if (!address.unix_path.empty()) return listen;
  if (address.port == 0) return absl::InvalidArgumentError("--listen: --healthcheck needs one with a port of its own");
  if (address.wildcard()) return absl::StrCat("127.0.0.1:", address.port);
  return listen;
}

absl::Status SystemError() { return absl::UnavailableError(std::strerror(errno)); }

// What a page of the metrics port answers, its head too.
absl::StatusOr<std::string> Get(const SocketAddress& address, const std::string& path, double timeout_seconds) {
  const int socket = ::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return SystemError();
  const auto closes = absl::MakeCleanup([socket] { close(socket); });
  const auto microseconds = static_cast<int64_t>(timeout_seconds * 1e6);
  const timeval limit = {.tv_sec = microseconds / 1'000'000, .tv_usec = microseconds % 1'000'000};
  for (const int option : {SO_SNDTIMEO, SO_RCVTIMEO}) setsockopt(socket, SOL_SOCKET, option, &limit, sizeof limit);
  if (connect(socket, address.get(), address.size) != 0) return SystemError();
  const std::string request = absl::StrCat("GET ", path, " HTTP/1.0\r\n\r\n");
  if (send(socket, request.data(), request.size(), MSG_NOSIGNAL) < 0) return SystemError();
  std::string answer;
  std::array<char, 4096> part{};  // these pages have a line
  for (ssize_t size = 1; size > 0 && answer.size() < part.size();) {
    size = recv(socket, part.data(), part.size(), 0);
    if (size < 0) return SystemError();
    answer.append(part.data(), static_cast<size_t>(size));
  }
  return answer;
}

std::string LastLine(absl::string_view text) {
  text = absl::StripTrailingAsciiWhitespace(text);
  return std::string(text.substr(text.rfind('\n') + 1));
}

bool HasMetricsPort(const ServerOptions& options) {
  return options.metrics_listen != kPortOff && !absl::EndsWith(options.metrics_listen, ":0");
}

// OK, FAILED_PRECONDITION or UNAVAILABLE.
absl::Status CheckPages(const ServerOptions& options, double timeout_seconds) {
  DENOISED_ASSIGN_OR_RETURN(const ListenAddress address,
                            ListenAddress::Parse("--metrics_listen", options.metrics_listen));
  DENOISED_ASSIGN_OR_RETURN(const std::vector<SocketAddress> found, address.Resolve());
  for (const std::string& path : {std::string("/livez"), std::string("/healthz")}) {
    const std::string url = absl::StrCat("http://", AddressText(Loopback(found.front())), path);
    const absl::StatusOr<std::string> answer = Get(Loopback(found.front()), path, timeout_seconds);
    if (!answer.ok()) {
      return absl::UnavailableError(absl::StrCat("the server does not answer at ", url, ", where it is asked because ",
                                                 "--tls_client_ca is set: ", answer.status().message()));
    }
    if (absl::StartsWith(*answer, "HTTP/1.0 200 ")) continue;
    if (!absl::StartsWith(*answer, "HTTP/1.0 503 ")) {
      return absl::UnavailableError(
          absl::StrCat("whoever answers at ", url, " is not this server: ", Quoted(LastLine(*answer), kMaxShown)));
    }
    return absl::FailedPreconditionError(absl::StrCat("the server at ", options.listen, " does not serve: ", url,
                                                      " says ", Quoted(LastLine(*answer), kMaxShown)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ClientCredentials(const TlsOptions& tls) {
  if (tls.cert.empty()) return grpc::InsecureChannelCredentials();
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_verify_server_certs(false);
  options.set_check_call_host(false);
  if (!tls.client_ca.empty()) {
    DENOISED_ASSIGN_OR_RETURN(const std::string cert, ReadFile(tls.cert, kMaxPemBytes));
    DENOISED_ASSIGN_OR_RETURN(const std::string key, ReadFile(tls.key, kMaxPemBytes));
    options.set_certificate_provider(std::make_shared<grpc::experimental::StaticDataCertificateProvider>(
        std::vector<grpc::experimental::IdentityKeyCertPair>{{key, cert}}));
    options.watch_identity_key_cert_pairs();
  }
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace

absl::Status CheckHealth(const ServerOptions& options, double timeout_seconds) {
  const bool needs_certificate = !options.tls.client_ca.empty();
  if (needs_certificate && HasMetricsPort(options)) return CheckPages(options, timeout_seconds);
  DENOISED_ASSIGN_OR_RETURN(const std::string target, Target(options.listen));
  DENOISED_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                            ClientCredentials(options.tls));
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // this machine's own server, whatever $http_proxy says
  const auto health = grpc::health::v1::Health::NewStub(grpc::CreateCustomChannel(target, credentials, arguments));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(static_cast<int64_t>(timeout_seconds * 1000)));
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status = health->Check(&context, {}, &response);
  if (!status.ok()) {
    return absl::UnavailableError(absl::StrCat("the server at ", target, " does not answer: ", status.error_message(),
                                               needs_certificate ? kNoCertificate : ""));
  }
  if (response.status() == grpc::health::v1::HealthCheckResponse::SERVING) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the server at ", target, " does not serve: it starts or drains"));
}

}  // namespace denoised
