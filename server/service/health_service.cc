#include "server/service/health_service.h"

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/service/grpc_status.h"
#include "server/service/request_size.h"

namespace denoised {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::health::v1::HealthListRequest;
using grpc::health::v1::HealthListResponse;

// Of a connection: a channel that watches health needs one for each service. Of all together, --max_calls.
constexpr int kMaxWatchers = 100;
// What other processes of this machine connect by has one name for all.
constexpr int kMaxLocalWatchers = 1000;

// One Watch call: writes the newest status whenever it differs from the last one written. All members are guarded by
// the service's mutex.
class HealthService::Watcher : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  Watcher(HealthService& owner, std::string service, std::string peer)
      : owner_(owner), service_(std::move(service)), peer_(std::move(peer)) {}

  const std::string& service() const { return service_; }

  void Update(ServingStatus status, bool draining) {
    wanted_ = status;
    draining_ = draining;
    Pump();
  }

  void OnWriteDone(bool ok) override {
    const absl::MutexLock lock(&owner_.mu_);
    writing_ = false;
    broken_ = broken_ || !ok;
    Pump();
  }

  void OnCancel() override {
    const absl::MutexLock lock(&owner_.mu_);
    broken_ = true;
    Pump();
  }

  void OnDone() override {
    {
      const absl::MutexLock lock(&owner_.mu_);
      owner_.watchers_.erase(this);
      if (--owner_.watchers_of_[peer_] == 0) owner_.watchers_of_.erase(peer_);
    }
    delete this;
  }

 private:
  void Pump() {
    if (writing_ || finished_) return;
    if (broken_) {
      finished_ = true;
      Finish(grpc::Status::CANCELLED);
    } else if (wanted_ != written_) {
      written_ = wanted_;
      writing_ = true;
      response_.set_status(wanted_);
      StartWrite(&response_);
    } else if (draining_) {
      finished_ = true;
      Finish(grpc::Status::OK);
    }
  }

  HealthService& owner_;
  const std::string service_;
  const std::string peer_;
  ServingStatus wanted_ = HealthCheckResponse::UNKNOWN;
  std::optional<ServingStatus> written_;
  bool writing_ = false;
  bool broken_ = false;
  bool draining_ = false;
  bool finished_ = false;
  HealthCheckResponse response_;
};

// A Watch that ends before its first answer.
class RefusedWatch : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  explicit RefusedWatch(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

HealthService::HealthService(std::set<std::string> services) : services_(std::move(services)) { services_.insert(""); }

void HealthService::SetServing(bool serving) {
  const absl::MutexLock lock(&mu_);
  serving_ = serving && !draining_;
  UpdateWatchers();
}

bool HealthService::serving() const {
  const absl::MutexLock lock(&mu_);
  return serving_;
}

void HealthService::Drain() {
  const absl::MutexLock lock(&mu_);
  serving_ = false;
  draining_ = true;
  UpdateWatchers();
}

void HealthService::UpdateWatchers() {
  for (Watcher* watcher : watchers_) watcher->Update(StatusOf(watcher->service()), draining_);
}

HealthService::ServingStatus HealthService::StatusOf(const std::string& service) const {
  if (!services_.contains(service)) return HealthCheckResponse::SERVICE_UNKNOWN;
  return serving_ ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context, const HealthCheckRequest* request,
                                               HealthCheckResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (const absl::Status size = CheckRequestSize(*request); !size.ok()) {
    reactor->Finish(ToGrpcStatus(size));
    return reactor;
  }
  const absl::MutexLock lock(&mu_);
  const ServingStatus status = StatusOf(request->service());
  if (status == HealthCheckResponse::SERVICE_UNKNOWN) {
    reactor->Finish(ToGrpcStatus(
        absl::NotFoundError(absl::StrCat("this server has no service \"", request->service(), "\" to report on"))));
    return reactor;
  }
  response->set_status(status);
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* HealthService::List(grpc::CallbackServerContext* context, const HealthListRequest*,
                                              HealthListResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::MutexLock lock(&mu_);
  for (const std::string& service : services_) (*response->mutable_statuses())[service].set_status(StatusOf(service));
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(grpc::CallbackServerContext* context,
                                                                    const HealthCheckRequest* request) {
  if (const absl::Status size = CheckRequestSize(*request); !size.ok()) return new RefusedWatch(size);
  const absl::MutexLock lock(&mu_);
  const std::string peer = context->peer();
  const int most = absl::StartsWith(peer, "unix") ? kMaxLocalWatchers : kMaxWatchers;
  if (const auto open = watchers_of_.find(peer); open != watchers_of_.end() && open->second >= most) {
    return new RefusedWatch(absl::ResourceExhaustedError(
        absl::StrCat("this connection has ", most, " open Watch calls, as many as a connection may; use Check")));
  }
  Watcher* watcher = new Watcher(*this, request->service(), peer);
  watchers_.insert(watcher);
  ++watchers_of_[peer];
  watcher->Update(StatusOf(request->service()), draining_);
  return watcher;
}

}  // namespace denoised
