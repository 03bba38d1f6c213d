#include "server/service/reflection_service.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "server/service/grpc_status.h"
#include "server/service/request_size.h"

namespace denoised {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;

constexpr int kMaxStreams = 100;

struct V1 {
  using Service = grpc::reflection::v1::ServerReflection;
  using Request = grpc::reflection::v1::ServerReflectionRequest;
  using Response = grpc::reflection::v1::ServerReflectionResponse;
};

struct V1Alpha {
  using Service = grpc::reflection::v1alpha::ServerReflection;
  using Request = grpc::reflection::v1alpha::ServerReflectionRequest;
  using Response = grpc::reflection::v1alpha::ServerReflectionResponse;
};

const DescriptorPool& Pool() { return *DescriptorPool::generated_pool(); }

template <typename Response>
void Refuse(const std::string& what, Response& response) {
  const grpc::Status status = ToGrpcStatus(absl::NotFoundError(absl::StrCat("this server has no ", what)));
  response.mutable_error_response()->set_error_code(status.error_code());
  response.mutable_error_response()->set_error_message(status.error_message());
}

// The file, then those that it needs, each once.
template <typename Response>
void AddFile(const FileDescriptor& file, std::set<const FileDescriptor*>& added, Response& response) {
  if (!added.insert(&file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  response.mutable_file_descriptor_response()->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) AddFile(*file.dependency(i), added, response);
}

template <typename Response>
void AnswerFile(const FileDescriptor* file, const std::string& what, Response& response) {
  if (file == nullptr) return Refuse(what, response);
  std::set<const FileDescriptor*> added;
  AddFile(*file, added, response);
}

template <typename Response>
void AnswerExtension(const std::string& type, int number, Response& response) {
  const Descriptor* extended = Pool().FindMessageTypeByName(type);
  const FieldDescriptor* extension = extended == nullptr ? nullptr : Pool().FindExtensionByNumber(extended, number);
  AnswerFile(extension == nullptr ? nullptr : extension->file(), absl::StrCat("extension ", number, " of ", type),
             response);
}

template <typename Response>
void AnswerExtensions(const std::string& type, Response& response) {
  const Descriptor* extended = Pool().FindMessageTypeByName(type);
  if (extended == nullptr) return Refuse(absl::StrCat("type \"", type, "\""), response);
  std::vector<const FieldDescriptor*> extensions;
  Pool().FindAllExtensions(extended, &extensions);
  auto& numbers = *response.mutable_all_extension_numbers_response();
  numbers.set_base_type_name(type);
  for (const FieldDescriptor* extension : extensions) numbers.add_extension_number(extension->number());
}

template <typename Request, typename Response>
Response Answer(const Request& request, const std::vector<std::string>& services) {
  Response response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case Request::kListServices:
      for (const std::string& name : services) response.mutable_list_services_response()->add_service()->set_name(name);
      break;
    case Request::kFileByFilename:
      AnswerFile(Pool().FindFileByName(request.file_by_filename()),
                 absl::StrCat("file \"", request.file_by_filename(), "\""), response);
      break;
    case Request::kFileContainingSymbol:
      AnswerFile(Pool().FindFileContainingSymbol(request.file_containing_symbol()),
                 absl::StrCat("symbol \"", request.file_containing_symbol(), "\""), response);
      break;
    case Request::kFileContainingExtension:
      AnswerExtension(request.file_containing_extension().containing_type(),
                      request.file_containing_extension().extension_number(), response);
      break;
    case Request::kAllExtensionNumbersOfType:
      AnswerExtensions(request.all_extension_numbers_of_type(), response);
      break;
    default:
      Refuse("answer to this question", response);
  }
  return response;
}

// What the streams of both versions share.
struct Streams {
  absl::Mutex mu;
  bool draining ABSL_GUARDED_BY(mu) = false;
  std::set<grpc::CallbackServerContext*> open ABSL_GUARDED_BY(mu);
};

// One question is under way at a time: read, answered, written.
template <typename Version>
class Stream : public grpc::ServerBidiReactor<typename Version::Request, typename Version::Response> {
 public:
  Stream(grpc::CallbackServerContext* context, const std::vector<std::string>& services, Streams& streams)
      : context_(context), services_(services), streams_(streams) {
    const absl::MutexLock lock(&streams_.mu);
    if (streams_.draining || streams_.open.size() >= kMaxStreams) {
      this->Finish(ToGrpcStatus(
          streams_.draining
              ? absl::UnavailableError("the server is shutting down")
              : absl::ResourceExhaustedError(absl::StrCat(
                    "this server has ", kMaxStreams, " open reflection calls, as many as it keeps; try again later"))));
      return;
    }
    streams_.open.insert(context_);
    this->StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return this->Finish(grpc::Status::OK);
    if (const absl::Status size = CheckRequestSize(request_); !size.ok()) return this->Finish(ToGrpcStatus(size));
    response_ = Answer<typename Version::Request, typename Version::Response>(request_, services_);
    this->StartWrite(&response_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return this->Finish(grpc::Status::CANCELLED);
    this->StartRead(&request_);
  }

  void OnDone() override {
    {
      const absl::MutexLock lock(&streams_.mu);
      streams_.open.erase(context_);
    }
    delete this;
  }

 private:
  grpc::CallbackServerContext* const context_;
  const std::vector<std::string>& services_;
  Streams& streams_;
  typename Version::Request request_;
  typename Version::Response response_;
};

template <typename Version>
class VersionService : public Version::Service::CallbackService {
 public:
  VersionService(const std::vector<std::string>& services, Streams& streams) : services_(services), streams_(streams) {}

  grpc::ServerBidiReactor<typename Version::Request, typename Version::Response>* ServerReflectionInfo(
      grpc::CallbackServerContext* context) override {
    return new Stream<Version>(context, services_, streams_);
  }

 private:
  const std::vector<std::string>& services_;
  Streams& streams_;
};

}  // namespace

struct ReflectionService::State {
  std::vector<std::string> names;
  Streams streams;
  VersionService<V1> v1{names, streams};
  VersionService<V1Alpha> v1alpha{names, streams};
};

ReflectionService::ReflectionService(std::vector<std::string> services) : state_(std::make_unique<State>()) {
  state_->names = std::move(services);
  state_->names.emplace_back(V1::Service::service_full_name());
  state_->names.emplace_back(V1Alpha::Service::service_full_name());
}

ReflectionService::~ReflectionService() = default;

std::vector<grpc::Service*> ReflectionService::services() const { return {&state_->v1, &state_->v1alpha}; }

void ReflectionService::Drain() {
  const absl::MutexLock lock(&state_->streams.mu);
  state_->streams.draining = true;
  for (grpc::CallbackServerContext* context : state_->streams.open) context->TryCancel();
}

}  // namespace denoised
