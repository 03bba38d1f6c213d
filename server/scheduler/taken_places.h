// File: taken_places.h
//
// How many places are taken, in all and by each client: of one scheduler, or of several that share one budget, as a
// model and the one that it replaces do.
//
//   places.Take("alice", 4);    // Take("alice", -1) gives one back
//   if (places.total() + count > capacity) ...
//
// Thread-safe.
#ifndef DENOISED_SERVER_SCHEDULER_TAKEN_PLACES_H_
#define DENOISED_SERVER_SCHEDULER_TAKEN_PLACES_H_

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace denoised {

class TakenPlaces {
 public:
  void Take(const std::string& client, int64_t places) {
    const absl::MutexLock lock(&mu_);
    total_ += places;
    const auto taken = clients_.try_emplace(client).first;
    if ((taken->second += places) == 0) clients_.erase(taken);
  }

  int64_t total() const {
    const absl::MutexLock lock(&mu_);
    return total_;
  }

  int64_t of(const std::string& client) const {
    const absl::MutexLock lock(&mu_);
    const auto taken = clients_.find(client);
    return taken == clients_.end() ? 0 : taken->second;
  }

 private:
  mutable absl::Mutex mu_;
  int64_t total_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<std::string, int64_t> clients_ ABSL_GUARDED_BY(mu_);
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SCHEDULER_TAKEN_PLACES_H_
