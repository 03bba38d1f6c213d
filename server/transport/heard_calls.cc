#include "server/transport/heard_calls.h"

#include <grpcpp/server_context.h>

#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "server/telemetry/call_log.h"

namespace denoised {
namespace {

using grpc::experimental::ServerRpcInfo;

class Counts {
 public:
  void Add(const std::string& peer, int64_t calls) {
    const absl::MutexLock lock(&mu_);
    const auto found = counts_.try_emplace(peer, 0).first;
    found->second += calls;
    if (found->second == 0) counts_.erase(found);
  }
  int64_t Of(const std::string& peer) const {
    const absl::MutexLock lock(&mu_);
    const auto found = counts_.find(peer);
    return found == counts_.end() ? 0 : found->second;
  }

 private:
  mutable absl::Mutex mu_;
  absl::flat_hash_map<std::string, int64_t> counts_ ABSL_GUARDED_BY(mu_);
};

// NOTE: never destroyed, as calls may end while the process does.
Counts& AllCounts() {
  static auto* const counts = new Counts;
  return *counts;
}

// As AddressText has it, which knows no scope: "[fe80::1%25eth0]:40000".
std::string PeerKey(const std::string& peer) {
  std::string key = PeerText(peer);
  if (const size_t scope = key.find('%'); scope != std::string::npos) key.erase(scope, key.find(']') - scope);
  return key;
}

int64_t MetadataBytes(const grpc::ServerContextBase& context) {
  size_t bytes = 0;
  for (const auto& [key, value] : context.client_metadata()) bytes += key.size() + value.size();
  return static_cast<int64_t>(bytes);
}

class HeardCall : public grpc::experimental::Interceptor {
 public:
  explicit HeardCall(const std::string& peer) : peer_(PeerKey(peer)) { AllCounts().Add(peer_, 1); }
  ~HeardCall() override { AllCounts().Add(peer_, -1); }

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override { methods->Proceed(); }

 private:
  const std::string peer_;
};

class Factory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  grpc::experimental::Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    if (MetadataBytes(*info->server_context()) > kMostMetadata) return nullptr;
    return new HeardCall(info->server_context()->peer());  // NOTE: gRPC takes ownership
  }
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> HeardCallsInterceptor() {
  return std::make_unique<Factory>();
}

int64_t HeardCalls(const SocketAddress& peer) { return AllCounts().Of(AddressText(peer)); }

}  // namespace denoised
