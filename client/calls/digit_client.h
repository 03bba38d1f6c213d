// File: digit_client.h
//
// A connection to a denoised server whose errors are sentences for the person at the command line.
//
//   absl::StatusOr<std::unique_ptr<DigitClient>> client = DigitClient::Connect({.server = "localhost:50051"});
//   absl::Status reached = (*client)->AwaitServer({.wait_seconds = 10});
//   absl::Status status = (*client)->GenerateDigit(request, {}, [](const v1::GenerateDigitResponse& event) { ... });
//
// Thread-safe: calls may run at the same time, and Cancel ends all of them.
#ifndef DENOISED_CLIENT_CALLS_DIGIT_CLIENT_H_
#define DENOISED_CLIENT_CALLS_DIGIT_CLIENT_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "client/calls/connection_diagnosis.h"
#include "client/calls/server_address.h"
#include "denoised/v1/digit_service.grpc.pb.h"

namespace denoised {

// Where the server is. TLS is on when `tls` is, or when any of the files is named.
struct Connection {
  std::string server = "localhost:50051";
  bool tls = false;
  std::string tls_ca;    // PEM; empty: the system's certificates
  std::string tls_cert;  // PEM, for servers that ask clients for one
  std::string tls_key;
  std::string token;       // shown to servers that ask for one; empty: none
  std::string token_file;  // a file with it, which goes before `token`
  bool allow_plain_tokens = false;
  std::chrono::milliseconds connect_timeout{10000};  // of an attempt
  // A server that vanishes without a word, with its machine or the way there, answers no ping: sent after this time
  // without news, during calls, and answered within the other.
  std::chrono::milliseconds keepalive_time{30000};
  std::chrono::milliseconds keepalive_timeout{20000};
};

// What CANCELLED says, of all calls below.
inline constexpr char kCancelledText[] = "cancelled";

struct WaitOptions {
  double wait_seconds = 0;     // for somebody to listen there
  double loading_seconds = 0;  // in all, once somebody does but has no model yet
  double timeout_seconds = 0;  // for everything; 0: none
  double silent_seconds = 10;  // for somebody who listens there, but says nothing that tells why it cannot be
  bool until_serving = false;  // having a model is not enough: its health must say that it serves, too
  // When there is reason to wait, with that: "no server at localhost:50051 yet; waiting up to 10 s".
  std::function<void(const std::string& what)> on_wait;
};

struct CallOptions {
  double timeout_seconds = 0;  // for the whole call, waits included; 0: none
  int retries = 3;             // how often a full queue is asked again, after the wait that it names, doubled each time
  std::function<void(double seconds)> on_wait;  // before each such wait
  std::string count_flag = "--count";           // where the request's count comes from, for the errors about it
};

class DigitClient {
 public:
  // Called with each event, in order. An error ends the call and is what GenerateDigit returns.
  using EventHandler = std::function<absl::Status(const v1::GenerateDigitResponse& event)>;

  // Prepares the connection; the server is first spoken to by the first call. Fails for an address that is none, for
  // files that cannot be read or are not what they should be, and for a token that would cross a network in plain text.
  static absl::StatusOr<std::unique_ptr<DigitClient>> Connect(const Connection& connection);

  // Connects to the server. UNAVAILABLE, with a text that says why and what to do, if that cannot be; CANCELLED after
  // Cancel. A server that is still loading its model is waited for, too, but is no error: its own words say more. The
  // calls below work without this, but know less of what is wrong with a connection.
  absl::Status AwaitServer(const WaitOptions& options);

  // Blocks until the stream ends. CANCELLED after Cancel, otherwise the server's status code with a text that says what
  // to do about it (ErrorText).
  absl::Status GenerateDigit(const v1::GenerateDigitRequest& request, const CallOptions& options,
                             const EventHandler& handler);
  // The same without blocking and without retries: `handler` and then, once, `done` are called on threads of gRPC's,
  // never two at a time for one call. This client must live until then.
  void StartGenerateDigit(const v1::GenerateDigitRequest& request, const CallOptions& options, EventHandler handler,
                          std::function<void(const absl::Status&)> done);
  absl::StatusOr<v1::GetModelResponse> GetModel(const CallOptions& options);
  // What the standard health service says of the server as a whole: "SERVING", "NOT_SERVING".
  absl::StatusOr<std::string> CheckHealth(const CallOptions& options);

  // Ends all calls, running and future, with CANCELLED. Any thread.
  void Cancel();
  // Whether Cancel has been called. Any thread.
  bool cancelled();

 private:
  class Call;
  class AsyncCall;

  DigitClient(ServerAddress address, TlsFiles tls, std::shared_ptr<grpc::Channel> channel, std::string token);

  class Wait;
  bool TryToConnect(std::chrono::steady_clock::time_point deadline);
  bool HasModel();
  bool Serves();

  absl::Status GenerateOnce(const v1::GenerateDigitRequest& request, const CallOptions& options,
                            std::chrono::system_clock::time_point deadline, const EventHandler& handler,
                            std::chrono::nanoseconds* retry_delay);
  absl::Status ToAbslStatus(const grpc::Status& status, const CallOptions& options, bool answered);
  bool WaitUnlessCancelled(std::chrono::nanoseconds duration);

  const ServerAddress address_;
  const std::string server_ = address_.target;
  const TlsFiles tls_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::DigitService::Stub> stub_;
  const std::string token_;

  absl::Mutex mu_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  std::set<grpc::ClientContext*> running_ ABSL_GUARDED_BY(mu_);
};

}  // namespace denoised

#endif  // DENOISED_CLIENT_CALLS_DIGIT_CLIENT_H_
