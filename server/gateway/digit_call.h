// File: digit_call.h
//
// A GenerateDigit call that the gateway makes of its own server for a client of HTTP, and the answer that comes of it.
//
//   const auto call = std::make_shared<DigitLinesCall>(std::move(answer));
//   call->Start(stub, request, metadata, [] { /* it is over */ });
//   return [weak = std::weak_ptr(call)] { ... weak.lock()->Cancel(); };   // when the client goes
//
// The next event is asked for when the client has taken the last one, so that a slow client of HTTP is a slow reader to
// the service, which knows what to do with those.
//
// Thread-safe once it is started.
#ifndef DENOISED_SERVER_GATEWAY_DIGIT_CALL_H_
#define DENOISED_SERVER_GATEWAY_DIGIT_CALL_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "denoised/v1/digit_service.grpc.pb.h"
#include "server/http/http_responder.h"

namespace denoised {

using CallMetadata = std::vector<std::pair<std::string, std::string>>;

// The header in which an answer names the call that it comes from.
inline constexpr char kRequestIdHeader[] = "X-Request-Id";
HttpResponse NamedAfter(const grpc::ClientContext& call, HttpResponse response);

class DigitCall : public grpc::ClientReadReactor<v1::GenerateDigitResponse>,
                  public std::enable_shared_from_this<DigitCall> {
 public:
  explicit DigitCall(std::shared_ptr<HttpResponder> responder) : responder_(std::move(responder)) {}

  // Lives until `on_over` has been called, on a thread of gRPC's.
  void Start(v1::DigitService::Stub& stub, const v1::GenerateDigitRequest& request, const CallMetadata& metadata,
             std::function<void()> on_over);

  // Instead of Start: answers with this error.
  void Refuse(const absl::Status& status);

  // The client has gone. On the HTTP server's I/O thread, or when that has ended.
  void Cancel() ABSL_LOCKS_EXCLUDED(mu_);

  void OnReadDone(bool ok) final ABSL_LOCKS_EXCLUDED(mu_);
  void OnDone(const grpc::Status& status) final;

 protected:
  // One after the other: an event, upon which `next` is to be called once, there or on the I/O thread; and the end.
  virtual void OnEvent(v1::GenerateDigitResponse& event, std::function<void()> next) = 0;
  virtual void OnEnd(const grpc::Status& status) = 0;

  HttpResponder& responder() { return *responder_; }
  // With the request's id.
  HttpResponse Named(HttpResponse response) const;

 private:
  void Next() ABSL_LOCKS_EXCLUDED(mu_);

  std::shared_ptr<HttpResponder> responder_;
  std::function<void()> on_over_;
  grpc::ClientContext context_;
  v1::GenerateDigitRequest request_;
  v1::GenerateDigitResponse event_;
  std::shared_ptr<DigitCall> self_;  // while gRPC has it

  absl::Mutex mu_;
  bool reading_ ABSL_GUARDED_BY(mu_) = true;
  bool gone_ ABSL_GUARDED_BY(mu_) = false;
};

// Each event as a line of JSON. An error before the first is the whole answer, later it is the last line.
class DigitLinesCall final : public DigitCall {
 public:
  using DigitCall::DigitCall;

 private:
  void OnEvent(v1::GenerateDigitResponse& event, std::function<void()> next) override;
  void OnEnd(const grpc::Status& status) override;

  bool began_ = false;
};

// The finished image as a PNG, with X-Denoised-Seed and X-Denoised-Model.
class DigitPictureCall final : public DigitCall {
 public:
  using DigitCall::DigitCall;

 private:
  void OnEvent(v1::GenerateDigitResponse& event, std::function<void()> next) override;
  void OnEnd(const grpc::Status& status) override;

  std::string png_;
  std::string model_;
  std::string seed_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_GATEWAY_DIGIT_CALL_H_
