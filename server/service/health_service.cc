#include "server/service/health_service.h"

#include <optional>
#include <utility>

namespace denoised {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// One Watch call: writes the newest status whenever it differs from the last one written. All members are guarded by
// the service's mutex.
class HealthService::Watcher : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  Watcher(HealthService& owner, std::string service) : owner_(owner), service_(std::move(service)) {}

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
  ServingStatus wanted_ = HealthCheckResponse::UNKNOWN;
  std::optional<ServingStatus> written_;
  bool writing_ = false;
  bool broken_ = false;
  bool draining_ = false;
  bool finished_ = false;
  HealthCheckResponse response_;
};

HealthService::HealthService(std::set<std::string> services) : services_(std::move(services)) { services_.insert(""); }

void HealthService::SetServing(bool serving) {
  const absl::MutexLock lock(&mu_);
  serving_ = serving;
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
  const absl::MutexLock lock(&mu_);
  const ServingStatus status = StatusOf(request->service());
  if (status == HealthCheckResponse::SERVICE_UNKNOWN) {
    reactor->Finish(grpc::Status(grpc::StatusCode::NOT_FOUND,
                                 "this server has no service \"" + request->service() + "\" to report on"));
    return reactor;
  }
  response->set_status(status);
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(grpc::CallbackServerContext*,
                                                                    const HealthCheckRequest* request) {
  Watcher* watcher = new Watcher(*this, request->service());
  const absl::MutexLock lock(&mu_);
  watchers_.insert(watcher);
  watcher->Update(StatusOf(request->service()), draining_);
  return watcher;
}

}  // namespace denoised
