// File: refreshed.h
//
// A value made from files that somebody may replace while the server runs: the newest one that was good.
//
//   using TokenFile = Refreshed<AccessTokens>;
//   absl::StatusOr<std::shared_ptr<TokenFile>> tokens = TokenFile::Load([] { return LoadAccessTokens("tokens"); });
//   ... now and then: absl::StatusOr<bool> changed = (*tokens)->Refresh();
//   const std::shared_ptr<const AccessTokens> current = (*tokens)->value();
//
// Files are read each time rather than asked for their times: they are small, and neither coarse clocks nor the links
// that Kubernetes swaps can hide a change.
//
// Thread-safe.
#ifndef DENOISED_SERVER_ACCESS_REFRESHED_H_
#define DENOISED_SERVER_ACCESS_REFRESHED_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace denoised {

template <typename Value>  // with operator==
class Refreshed {
 public:
  using Loader = std::function<absl::StatusOr<Value>()>;

  // Loads for the first time; the loader's error.
  static absl::StatusOr<std::shared_ptr<Refreshed>> Load(Loader loader) {
    absl::StatusOr<Value> first = loader();
    if (!first.ok()) return first.status();
    return std::shared_ptr<Refreshed>(new Refreshed(std::move(loader), *std::move(first)));
  }

  std::shared_ptr<const Value> value() const {
    const absl::MutexLock lock(&mu_);
    return value_;
  }

  // Loads again. True: there is a new value. The loader's error, and the old value stays, when the same error comes a
  // second time in a row, and only then: files that are being written right now are no error, and one that lasts is
  // told once.
  absl::StatusOr<bool> Refresh() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::StatusOr<Value> loaded = loader_();
    const absl::MutexLock lock(&mu_);
    if (!loaded.ok()) return Remember(loaded.status());
    error_ = absl::OkStatus();
    times_ = 0;
    if (*loaded == *value_) return false;
    value_ = std::make_shared<const Value>(*std::move(loaded));
    return true;
  }

 private:
  Refreshed(Loader loader, Value first)
      : loader_(std::move(loader)), value_(std::make_shared<const Value>(std::move(first))) {}

  absl::StatusOr<bool> Remember(const absl::Status& error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    times_ = error == error_ ? times_ + 1 : 1;
    error_ = error;
    if (times_ == 2) return error;
    return false;
  }

  const Loader loader_;

  mutable absl::Mutex mu_;
  std::shared_ptr<const Value> value_ ABSL_GUARDED_BY(mu_);
  absl::Status error_ ABSL_GUARDED_BY(mu_);
  int64_t times_ ABSL_GUARDED_BY(mu_) = 0;  // that error_ came in a row
};

}  // namespace denoised

#endif  // DENOISED_SERVER_ACCESS_REFRESHED_H_
