#include "trainer/training/process_group.h"

#include <torch/torch.h>
#include <torch/version.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <vector>
#if defined(USE_C10D_GLOO)
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif
#if defined(USE_C10D_NCCL)
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/checkpoint/torch_error.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

// How long a process that cannot begin tries to tell the others, before it ends.
constexpr std::chrono::seconds kTellingTimeout{60};

// A process group of either library: their classes share these methods' names, in LibTorch 1.13 and 2 alike, but not
// their base.
template <typename Backend>
class BackendGroup : public ProcessGroup {
 public:
  BackendGroup(c10::intrusive_ptr<c10d::Store> store, c10::intrusive_ptr<Backend> backend)
      : store_(std::move(store)), backend_(std::move(backend)) {}

  void Sum(at::Tensor& tensor) override {
    std::vector<at::Tensor> tensors = {tensor};
    backend_->allreduce(tensors)->wait();
  }
  void Broadcast(at::Tensor& tensor) override {
    std::vector<at::Tensor> tensors = {tensor};
    backend_->broadcast(tensors)->wait();
  }

 private:
  c10::intrusive_ptr<c10d::Store> store_;
  c10::intrusive_ptr<Backend> backend_;
};

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::StatusOr<int> NumberVariable(const char* name, int lowest, int highest) {
  const std::string text = Variable(name);
  int value = 0;
  if (absl::SimpleAtoi(text, &value) && value >= lowest && value <= highest) return value;
  return absl::InvalidArgumentError(
      absl::StrCat("the environment variable ", name, " must be a number from ", lowest, " to ", highest, ", got \"",
                   text, "\"; torchrun sets it, and to train in one process WORLD_SIZE must not be set"));
}

absl::StatusOr<c10::intrusive_ptr<c10d::Store>> MeetingPlace(const ProcessPlace& place, std::chrono::seconds timeout) {
  const std::string address = Variable("MASTER_ADDR");
  if (address.empty()) {
    return absl::InvalidArgumentError(
        "the environment variable MASTER_ADDR must name the machine of the process with RANK 0; torchrun sets it");
  }
  c10d::TCPStoreOptions options;
  DENOISED_ASSIGN_OR_RETURN(const int port, NumberVariable("MASTER_PORT", 1, std::numeric_limits<uint16_t>::max()));
  options.port = static_cast<uint16_t>(port);
  options.isServer = place.rank == 0 && Variable("TORCHELASTIC_USE_AGENT_STORE") != "True";
  options.waitWorkers = false;
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
  options.useLibUV = false;  // LibTorch wants it from here on, and Debian's was built without
#endif
  options.timeout = timeout;
  try {
    // torchrun's own store is used by torchrun too, and after a restart again: a prefix keeps names apart.
    return c10::make_intrusive<c10d::PrefixStore>(
        absl::StrCat("denoise-train/", Variable("TORCHELASTIC_RESTART_COUNT")),
        c10::make_intrusive<c10d::TCPStore>(address, options));
  } catch (const std::exception& e) {
    return absl::UnavailableError(absl::StrCat("cannot meet the other processes at ", address, ":", options.port, ": ",
                                               TorchErrorText(e), "; is the process with RANK 0 running there?"));
  }
}

// A status code's byte, 0 for none, and then the answer or the error's message.
std::string ToBytes(const absl::StatusOr<std::string>& answer) {
  const char code = static_cast<char>(answer.status().code());
  return absl::StrCat(std::string(1, code), answer.ok() ? *answer : std::string(answer.status().message()));
}

absl::StatusOr<std::string> FromBytes(const std::string& bytes) {
  const auto code = static_cast<absl::StatusCode>(bytes[0]);
  if (code == absl::StatusCode::kOk) return bytes.substr(1);
  return absl::Status(code, bytes.substr(1));
}

void Write(c10d::Store& store, const std::string& key, const std::string& text) {
  store.set(key, std::vector<uint8_t>(text.begin(), text.end()));
}

// What the process of that rank says of itself. Waits until it is there.
absl::Status WhatIsSaidBy(c10d::Store& store, int rank) {
  try {
    const std::vector<uint8_t> bytes = store.get(absl::StrCat("ready/", rank));
    const absl::Status said = FromBytes(std::string(bytes.begin(), bytes.end())).status();
    if (said.ok()) return said;
    return absl::Status(said.code(), absl::StrCat("the process with RANK ", rank, " cannot begin: ", said.message()));
  } catch (const std::exception& e) {
    return absl::UnavailableError(absl::StrCat("the process with RANK ", rank, " has not come: ", TorchErrorText(e),
                                               "; is it running, with the same MASTER_ADDR and MASTER_PORT?"));
  }
}

// Each process says whether it can begin, and hears it of the others, so that none waits for one that has ended.
absl::Status AgreeToBegin(c10d::Store& store, const ProcessPlace& place, const absl::Status& own,
                          std::chrono::seconds timeout) {
  const auto told = own.ok() ? absl::StatusOr<std::string>("") : own;
  Write(store, absl::StrCat("ready/", place.rank), ToBytes(told));
  absl::Status error = own;
  for (int rank = 0; rank < place.size && error.ok(); ++rank) error = WhatIsSaidBy(store, rank);
  if (error.ok()) return error;
  Write(store, absl::StrCat("heard/", place.rank), "");
  if (place.rank != 0) return error;
  // The place where they meet may end with process 0, which therefore stays until all have heard.
  std::vector<std::string> all;
  for (int rank = 0; rank < place.size; ++rank) all.push_back(absl::StrCat("heard/", rank));
  try {
    store.wait(all, std::min(timeout, kTellingTimeout));
  } catch (const std::exception&) {
    // Whoever comes later finds nobody, and says that.
  }
  return error;
}

#if defined(USE_C10D_GLOO)
std::unique_ptr<ProcessGroup> MakeGlooGroup(c10::intrusive_ptr<c10d::Store> store, const ProcessPlace& place) {
  using c10d::ProcessGroupGloo;
  const c10::intrusive_ptr<ProcessGroupGloo::Options> options = ProcessGroupGloo::Options::create(kMeetingTimeout);
  const std::string interface = Variable("GLOO_SOCKET_IFNAME");
  options->devices.push_back(interface.empty() ? ProcessGroupGloo::createDefaultDevice()
                                               : ProcessGroupGloo::createDeviceForInterface(interface));
  auto backend = c10::make_intrusive<ProcessGroupGloo>(store, place.rank, place.size, options);
  return std::make_unique<BackendGroup<ProcessGroupGloo>>(std::move(store), std::move(backend));
}
#endif

#if defined(USE_C10D_NCCL)
std::unique_ptr<ProcessGroup> MakeNcclGroup(c10::intrusive_ptr<c10d::Store> store, const ProcessPlace& place) {
  auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, place.rank, place.size);
  return std::make_unique<BackendGroup<c10d::ProcessGroupNCCL>>(std::move(store), std::move(backend));
}
#endif

}  // namespace

absl::StatusOr<ProcessPlace> PlaceFromEnvironment() {
  ProcessPlace place;
  if (Variable("WORLD_SIZE").empty()) {
    for (const char* name : {"RANK", "LOCAL_RANK"}) {
      if (Variable(name).empty()) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "the environment variable ", name,
          " is set and WORLD_SIZE, the number of processes, is not: set both, or neither for one process"));
    }
    return place;
  }
  DENOISED_ASSIGN_OR_RETURN(place.size, NumberVariable("WORLD_SIZE", 1, 1 << 16));
  DENOISED_ASSIGN_OR_RETURN(place.rank, NumberVariable("RANK", 0, place.size - 1));
  if (Variable("LOCAL_RANK").empty()) return place;
  DENOISED_ASSIGN_OR_RETURN(place.local_rank, NumberVariable("LOCAL_RANK", 0, place.size - 1));
  return place;
}

absl::StatusOr<std::unique_ptr<ProcessGroup>> ProcessGroup::FromEnvironment(const ProcessPlace& place,
                                                                            const absl::StatusOr<torch::Device>& device,
                                                                            std::chrono::seconds timeout) {
  if (place.size == 1) {
    if (!device.ok()) return device.status();
    return nullptr;
  }
  absl::StatusOr<c10::intrusive_ptr<c10d::Store>> store =
      MeetingPlace(place, device.ok() ? timeout : std::min(timeout, kTellingTimeout));
  if (!store.ok()) return device.ok() ? store.status() : device.status();
  try {
    DENOISED_RETURN_IF_ERROR(AgreeToBegin(**store, place, device.status(), timeout));
#if defined(USE_C10D_NCCL)
    if (device->is_cuda()) return MakeNcclGroup(*std::move(store), place);
#endif
#if defined(USE_C10D_GLOO)
    if (device->is_cpu()) return MakeGlooGroup(*std::move(store), place);
#endif
  } catch (const std::exception& e) {
    if (!device.ok()) return device.status();
    return absl::UnavailableError(absl::StrCat("cannot connect the ", place.size, " processes: ", TorchErrorText(e)));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("this build cannot train in several processes on ", device->str(), ": it needs a LibTorch with ",
                   device->is_cuda() ? "NCCL" : "gloo, and gloo's headers (libgloo-dev)"));
}

bool AnySaysYes(ProcessGroup* group, const torch::Device& device, bool yes) {
  if (group == nullptr) return yes;
  at::Tensor votes = torch::full({1}, yes ? 1 : 0, torch::TensorOptions(torch::kInt64).device(device));
  group->Sum(votes);
  return votes.item<int64_t>() > 0;
}

double TakeFromFirst(ProcessGroup* group, const std::vector<at::Tensor>& tensors) {
  if (group == nullptr) return 0;
  const torch::NoGradGuard no_grad;
  std::vector<at::Tensor> flat;
  for (const at::Tensor& tensor : tensors) flat.push_back(tensor.detach().flatten());
  const at::Tensor own = torch::cat(flat);
  at::Tensor first = own.clone();
  group->Broadcast(first);
  int64_t offset = 0;
  for (at::Tensor tensor : tensors) {
    tensor.detach().copy_(first.narrow(0, offset, tensor.numel()).view(tensor.sizes()));
    offset += tensor.numel();
  }
  return (own - first).abs().max().item<double>();
}

int64_t NumberOfFirst(ProcessGroup* group, const torch::Device& device, int64_t number) {
  if (group == nullptr) return number;
  at::Tensor first = torch::full({1}, number, torch::TensorOptions(torch::kInt64).device(device));
  group->Broadcast(first);
  return first.item<int64_t>();
}

double DoubleOfFirst(ProcessGroup* group, const torch::Device& device, double number) {
  return std::bit_cast<double>(NumberOfFirst(group, device, std::bit_cast<int64_t>(number)));
}

std::string BytesOfFirst(ProcessGroup& group, const torch::Device& device, const std::string& bytes) {
  const auto own_size = static_cast<int64_t>(bytes.size());
  at::Tensor content = torch::empty({NumberOfFirst(&group, device, own_size)}, torch::kUInt8);
  std::copy_n(bytes.begin(), std::min(own_size, content.numel()), content.data_ptr<uint8_t>());
  content = content.to(device);
  if (content.numel() > 0) group.Broadcast(content);
  content = content.cpu();
  return std::string(reinterpret_cast<const char*>(content.data_ptr<uint8_t>()), content.numel());
}

absl::StatusOr<std::string> AnswerOfFirst(ProcessGroup* group, const torch::Device& device,
                                          const absl::StatusOr<std::string>& answer) {
  if (group == nullptr) return answer;
  return FromBytes(BytesOfFirst(*group, device, ToBytes(answer)));
}

}  // namespace denoised
