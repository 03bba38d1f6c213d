// File: digit_service.h
//
// denoised.v1.DigitService: validates, admits, and hands each call to a DigitStream.
//
//   DigitService service({.max_images_per_request = 100}, access, metrics, calls);
//   builder.RegisterService(&service);
//   service.SetModel(model);   // until then calls are answered with UNAVAILABLE
//
// Thread-safe. Destroy the grpc::Server first.
#ifndef DENOISED_SERVER_SERVICE_DIGIT_SERVICE_H_
#define DENOISED_SERVER_SERVICE_DIGIT_SERVICE_H_

#include <chrono>
#include <memory>
#include <random>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/support/thread_pool.h"
#include "denoised/v1/digit_service.grpc.pb.h"
#include "server/access/access_control.h"
#include "server/metrics/metrics.h"
#include "server/service/digit_stream.h"
#include "server/service/serving_model.h"
#include "server/telemetry/call_log.h"

namespace denoised {

struct DigitServiceOptions {
  uint32_t max_images_per_request = 100;  // never more than the scheduler's capacity, whatever is set here
  int encoder_threads = 0;                // 0: DefaultEncoders()
  ReadLimits read_limits = {};            // of each call's reader
  int64_t max_output_bytes = 128 << 20;   // that wait for readers: output_budget.h
};

// Threads that make PNGs: a quarter of the cores, so that a CPU that draws keeps the most of them, and at least one.
int DefaultEncoders(int cores);

class DigitService : public v1::DigitService::CallbackService {
 public:
  // `access` decides who may call; it, `metrics` and `calls` outlive the service.
  DigitService(const DigitServiceOptions& options, const AccessControl& access, Metrics& metrics, CallLog& calls);
  ~DigitService() override;

  // Calls from now on use this model; those that run keep theirs. Null: none.
  void SetModel(std::shared_ptr<ServingModel> model);
  std::shared_ptr<ServingModel> model() const;

  grpc::ServerWriteReactor<v1::GenerateDigitResponse>* GenerateDigit(grpc::CallbackServerContext* context,
                                                                     const v1::GenerateDigitRequest* request) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context, const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;

 private:
  uint32_t MaxImages(const ServingModel& model) const;
  uint64_t RandomSeed();

  // Constant after construction.
  const DigitServiceOptions options_;
  const AccessControl& access_;
  Metrics& metrics_;
  CallLog& calls_;
  OutputBudget output_;

  mutable absl::Mutex mu_;
  std::shared_ptr<ServingModel> model_ ABSL_GUARDED_BY(mu_);
  std::mt19937_64 seeds_ ABSL_GUARDED_BY(mu_);

  ThreadPool encoders_;  // NOTE: last, so that its tasks end before what they use
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVICE_DIGIT_SERVICE_H_
