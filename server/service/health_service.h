// File: health_service.h
//
// grpc.health.v1.Health, whose Watch streams end when the server drains. gRPC's built-in one cannot be called through
// reflection, and an open Watch makes Shutdown use up its whole deadline.
//
//   HealthService health({"denoised.v1.DigitService"});   // and "", the server as a whole: NOT_SERVING at first
//   builder.RegisterService(&health);
//   health.SetServing(true);
//
// Thread-safe. Destroy the grpc::Server first.
#ifndef DENOISED_SERVER_SERVICE_HEALTH_SERVICE_H_
#define DENOISED_SERVER_SERVICE_HEALTH_SERVICE_H_

#include <map>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace denoised {

class HealthService : public grpc::health::v1::Health::CallbackService {
 public:
  explicit HealthService(std::set<std::string> services);

  // All services share one state. Watchers are told when it changes.
  void SetServing(bool serving);
  bool serving() const;

  // Tells watchers NOT_SERVING and ends their streams with OK; later watchers hear one answer and end as well.
  void Drain();

  // NOT_FOUND for a service that this server does not have.
  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  grpc::health::v1::HealthCheckResponse* response) override;

  // All of them, the server as a whole under "".
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const grpc::health::v1::HealthListRequest* request,
                                 grpc::health::v1::HealthListResponse* response) override;

  // RESOURCE_EXHAUSTED when too many are open: each costs memory for as long as its client likes. SERVICE_UNKNOWN for a
  // service that this server does not have.
  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* context, const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  class Watcher;
  using ServingStatus = grpc::health::v1::HealthCheckResponse::ServingStatus;

  ServingStatus StatusOf(const std::string& service) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void UpdateWatchers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  std::set<std::string> services_;  // constant after construction

  mutable absl::Mutex mu_;
  bool serving_ ABSL_GUARDED_BY(mu_) = false;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  std::set<Watcher*> watchers_ ABSL_GUARDED_BY(mu_);             // they remove and delete themselves
  std::map<std::string, int> watchers_of_ ABSL_GUARDED_BY(mu_);  // of each connection
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVICE_HEALTH_SERVICE_H_
