#include "server/service/digit_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/support/available_cores.h"
#include "common/support/counted.h"
#include "common/support/quoted.h"
#include "common/support/status_macros.h"
#include "google/protobuf/util/time_util.h"
#include "server/service/grpc_status.h"
#include "server/service/request_size.h"
#include "server/service/request_validation.h"

namespace denoised {
namespace {

using GenerateReactor = grpc::ServerWriteReactor<v1::GenerateDigitResponse>;

// A step waits for the slowest of its threads, so that none of them should share its core with a PNG.
constexpr int kEncoderNiceness = 5;

absl::Status NoModelStatus() {
  return absl::UnavailableError("the model is still loading; try again in a few seconds");
}

// A call that ends before its first event.
class RefusedCall : public GenerateReactor {
 public:
  explicit RefusedCall(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

// The wait that a refusal asks for, or up to half as long again, so that all who were refused together do not come back
// together. RetryInfo and HTTP's Retry-After have it from here; retry policies read neither, but the metadata.
absl::Status AdviseRetry(absl::Status status, uint64_t random, grpc::CallbackServerContext& context) {
  const std::optional<std::chrono::nanoseconds> wait = GetRetryAfter(status);
  if (!wait.has_value()) return status;
  const auto least = static_cast<uint64_t>(std::chrono::ceil<std::chrono::milliseconds>(*wait).count());
  const std::chrono::milliseconds spread(least + random % (least / 2 + 1));
  context.AddTrailingMetadata("grpc-retry-pushback-ms", absl::StrCat(spread.count()));
  SetRetryAfter(status, spread);
  return status;
}

absl::Status NoRoomStatus(const OutputBudget& output, int64_t bytes) {
  constexpr std::chrono::seconds kWait(1);
  constexpr double kMiB = 1 << 20;
  absl::Status status = absl::ResourceExhaustedError(absl::StrFormat(
      "too much could wait for readers: the images of this request take up to %.1f MiB, those that were "
      "admitted up to %.1f of %.0f MiB (--max_output_bytes); try again in about %d s, or ask for smaller "
      "pictures",
      static_cast<double>(bytes) / kMiB, static_cast<double>(output.reserved()) / kMiB,
      static_cast<double>(output.limit_for_images()) / kMiB, kWait.count()));
  SetRetryAfter(status, kWait);
  return status;
}

// gRPC's deadlines are wall-clock times; the scheduler's are not.
SteadyTime SteadyDeadline(const grpc::CallbackServerContext& context) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  const auto left = deadline - std::chrono::system_clock::now();
  constexpr std::chrono::hours kForever(24 * 365);
  if (left > kForever) return SteadyTime::max();
  return std::chrono::steady_clock::now() + left;
}

const std::string& ClassName(const DrawRequest& draw, const ModelInfo& info) {
  return info.metadata.class_names[static_cast<size_t>(draw.label)];
}

v1::GenerateDigitResponse MakeAccepted(const DrawRequest& draw, const ModelInfo& info, const Admission& admission) {
  v1::GenerateDigitResponse response;
  v1::GenerateDigitResponse::Accepted& accepted = *response.mutable_accepted();
  accepted.set_seed(draw.seed);
  accepted.set_steps(static_cast<uint32_t>(draw.plan->size()));
  accepted.set_model_version(info.version());
  accepted.set_digit(draw.label);
  accepted.set_class_name(ClassName(draw, info));
  accepted.set_queue_position(admission.queue_position);
  *accepted.mutable_estimated_duration() =
      google::protobuf::util::TimeUtil::NanosecondsToDuration(admission.estimated_duration.count());
  return response;
}

void DescribeDraw(const DrawRequest& draw, const ModelInfo& info, CallRecord& call) {
  const std::string sampler = SamplerName(draw.sampler);
  const std::string& name = ClassName(draw, info);
  const bool is_number = name == absl::StrCat(draw.label);
  const std::string what =
      is_number ? absl::StrCat("digit ", name) : absl::StrCat("class ", draw.label, " ", Quoted(name));
  LogFields fields = {{"digit", draw.label},
                      {"count", draw.count},
                      {"sampler", sampler},
                      {"steps", draw.plan->size()},
                      {"seed", absl::StrCat(draw.seed)}};  // in words: JSON's numbers end at 53 bits
  if (!is_number) fields["class_name"] = name;
  call.SetClient(draw.client);
  call.Describe(absl::StrFormat("%d of %s by %s, %s, seed %d", draw.count, what, sampler,
                                Counted(draw.plan->size(), "step"), draw.seed),
                fields);
}

void DescribeModel(const ServingModel& model, v1::GetModelResponse& response) {
  const ModelInfo& info = model.info();
  const ModelMetadata& metadata = info.metadata;
  response.set_model_version(info.version());
  response.set_sha256(info.sha256);
  response.set_architecture(metadata.unet.architecture);
  response.set_parameter_count(info.parameter_count);
  v1::NoiseSchedule& schedule = *response.mutable_noise_schedule();
  schedule.set_num_train_timesteps(static_cast<uint32_t>(metadata.noise_schedule.num_train_timesteps));
  schedule.set_beta_schedule(metadata.noise_schedule.beta_schedule);
  schedule.set_beta_start(metadata.noise_schedule.beta_start);
  schedule.set_beta_end(metadata.noise_schedule.beta_end);
  schedule.set_prediction_type(PredictionTypeName(metadata.noise_schedule.prediction_type));
  for (const std::string& name : metadata.class_names) response.add_class_names(name);
  response.set_supports_guidance(metadata.null_label.has_value());
  response.set_device(info.device);
  response.set_engine(model.engine().Description());
  for (const std::string& engine : info.passed_over) absl::StrAppend(response.mutable_engine(), "; not ", engine);
  response.set_metadata_json(SerializeModelMetadata(metadata));
  response.set_distilled_steps(static_cast<uint32_t>(metadata.distilled_steps));
}

}  // namespace

int DefaultEncoders(int cores) { return std::max(cores / 4, 1); }

DigitService::DigitService(const DigitServiceOptions& options, const AccessControl& access, Metrics& metrics,
                           CallLog& calls)
    : options_(options),
      access_(access),
      metrics_(metrics),
      calls_(calls),
      output_(options.max_output_bytes),
      encoders_({.threads = options.encoder_threads > 0 ? options.encoder_threads : DefaultEncoders(AvailableCores()),
                 .niceness = kEncoderNiceness}) {
  metrics_.SetOutputSource([this] { return output_.taken(); });
  std::random_device device;
  std::seed_seq entropy{device(), device(), device(), device()};
  seeds_.seed(entropy);
}

DigitService::~DigitService() { metrics_.SetOutputSource(nullptr); }

void DigitService::SetModel(std::shared_ptr<ServingModel> model) {
  if (model != nullptr) {
    const ModelInfo& info = model->info();
    metrics_.SetModel({.version = info.version(),
                       .sha256 = info.sha256,
                       .architecture = info.metadata.unet.architecture,
                       .device = info.device});
  }
  const absl::MutexLock lock(&mu_);
  model_.swap(model);  // NOTE: the old one ends after the lock is released, unless calls still hold it
}

std::shared_ptr<ServingModel> DigitService::model() const {
  const absl::MutexLock lock(&mu_);
  return model_;
}

// A request that asked for more than the scheduler can hold would be told to come back for ever.
uint32_t DigitService::MaxImages(const ServingModel& model) const {
  return static_cast<uint32_t>(
      std::min<int64_t>(options_.max_images_per_request, model.scheduler().max_images_of_a_client()));
}

uint64_t DigitService::RandomSeed() {
  const absl::MutexLock lock(&mu_);
  return seeds_();
}

GenerateReactor* DigitService::GenerateDigit(grpc::CallbackServerContext* context,
                                             const v1::GenerateDigitRequest* request) {
  absl::StatusOr<std::string> client = access_.Admit(*context, Role::kDraw);
  if (!client.ok()) return new RefusedCall(client.status());
  const std::shared_ptr<ServingModel> served = model();
  if (served == nullptr) return new RefusedCall(NoModelStatus());
  absl::StatusOr<ValidRequest> valid =
      ValidateRequest(*request, served->info().metadata, served->schedule(), MaxImages(*served), RandomSeed());
  if (!valid.ok()) return new RefusedCall(valid.status());
  valid->draw.deadline = SteadyDeadline(*context);
  valid->draw.client = *std::move(client);
  const std::shared_ptr<CallRecord> call = calls_.Find(*context);
  DescribeDraw(valid->draw, served->info(), *call);
  const int64_t most_bytes = DigitStream::MostImageBytes(*valid);
  OutputRoom room = output_.Reserve(most_bytes);
  if (!room) {
    metrics_.OnRejected(DropReason::kQueueFull);
    return new RefusedCall(AdviseRetry(NoRoomStatus(output_, most_bytes), RandomSeed(), *context));
  }
  const DigitStream::Environment environment{
      .encoders = &encoders_, .metrics = &metrics_, .output = &output_, .read_limits = options_.read_limits};
  const auto stream = std::make_shared<DigitStream>(environment, call, served, *valid, std::move(room));
  metrics_.OnRequestStarted();  // NOTE: before Submit, so that a drain overlooks no call that was admitted
  absl::StatusOr<Admission> admission = served->scheduler().Submit(valid->draw, stream);
  if (!admission.ok()) {
    metrics_.OnRequestFinished();
    return new RefusedCall(AdviseRetry(admission.status(), RandomSeed(), *context));
  }
  const v1::GenerateDigitResponse accepted = MakeAccepted(valid->draw, served->info(), *admission);
  return stream->Open(context, accepted, std::move(admission->ticket));
}

grpc::ServerUnaryReactor* DigitService::GetModel(grpc::CallbackServerContext* context,
                                                 const v1::GetModelRequest* request, v1::GetModelResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (const absl::StatusOr<std::string> client = access_.Admit(*context, Role::kDraw); !client.ok()) {
    reactor->Finish(ToGrpcStatus(client.status()));
    return reactor;
  }
  if (const absl::Status size = CheckRequestSize(*request); !size.ok()) {
    reactor->Finish(ToGrpcStatus(size));
    return reactor;
  }
  const std::shared_ptr<ServingModel> served = model();
  if (served == nullptr) {
    reactor->Finish(ToGrpcStatus(NoModelStatus()));
    return reactor;
  }
  DescribeModel(*served, *response);
  response->set_max_images_per_request(MaxImages(*served));
  response->set_max_batch_rows(static_cast<uint32_t>(served->scheduler().options().max_batch_rows));
  response->set_max_queued_images(static_cast<uint32_t>(served->scheduler().options().max_queued_images));
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace denoised
