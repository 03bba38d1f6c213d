#include "trainer/judges/judge_network.h"

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/checkpoint/tensor_storage.h"
#include "common/image/image.h"
#include "common/support/digest.h"
#include "trainer/data/class_names.h"

namespace denoised {
namespace {

namespace nn = torch::nn;

constexpr char kTrainAgain[] = "train the judges again: denoise-eval --train_judges --data DIR --judges DIR";

nn::Conv2d Conv3(int in, int out, int stride) {
  return nn::Conv2d(nn::Conv2dOptions(in, out, 3).stride(stride).padding(1));
}

nn::Sequential LeNet5Body() {
  return nn::Sequential(nn::Conv2d(1, 6, 5), nn::ReLU(), nn::MaxPool2d(2),                  // [B,6,14,14]
                        nn::Conv2d(6, 16, 5), nn::ReLU(), nn::MaxPool2d(2), nn::Flatten(),  // [B,400]
                        nn::Linear(400, 120), nn::ReLU(), nn::Linear(120, 84), nn::ReLU());
}

nn::Sequential ConvNetBody() {
  return nn::Sequential(Conv3(1, 32, 2), nn::ReLU(), Conv3(32, 32, 1), nn::ReLU(),   // [B,32,16,16]
                        Conv3(32, 64, 2), nn::ReLU(), Conv3(64, 64, 1), nn::ReLU(),  // [B,64,8,8]
                        Conv3(64, 128, 2), nn::ReLU(), nn::Flatten(),                // [B,2048]
                        nn::Linear(2048, 128), nn::ReLU());
}

std::string TensorsSha256(const JudgeNetwork& network) {
  std::string bytes;
  for (const at::Tensor& tensor : network->parameters()) {
    const at::Tensor plain = tensor.detach().contiguous();
    bytes.append(static_cast<const char*>(plain.data_ptr()), plain.nbytes());
  }
  return Sha256Hex(bytes);
}

// How many classes a judge with this last layer tells apart. Throws for a number that no data set has.
int ClassesOf(const at::Tensor& head_bias) {
  const int64_t classes = head_bias.numel();
  TORCH_CHECK(classes >= kFewestClasses && classes <= static_cast<int64_t>(kMostClasses), "another shape");
  return static_cast<int>(classes);
}

// A judge, and the SHA-256 that came with its tensors.
struct Archive {
  JudgeNetwork network = nullptr;
  std::string sha256;
};

// Throws for anything that is no whole judge.
Archive ReadArchive(JudgeKind kind, std::string_view bytes) {
  const torch::NoGradGuard no_grad;
  const auto value = torch::pickle_load(std::vector<char>(bytes.begin(), bytes.end()));
  const auto tuple = value.toTuple();
  TORCH_CHECK(tuple->elements().size() == 3 && tuple->elements()[0].toStringRef() == JudgeName(kind), "another kind");
  const auto tensors = tuple->elements()[2].toGenericDict();
  Archive archive{.network = JudgeNetwork(kind, ClassesOf(tensors.at("head.bias").toTensor())),
                  .sha256 = tuple->elements()[1].toStringRef()};
  for (auto& parameter : archive.network->named_parameters()) {
    const at::Tensor tensor = tensors.at(parameter.key()).toTensor();
    TORCH_CHECK(tensor.sizes() == parameter.value().sizes(), "another shape");
    TORCH_CHECK(LiesInItsStorage(tensor), "data cut off");
    parameter.value().copy_(tensor);
  }
  return archive;
}

}  // namespace

JudgeNetworkImpl::JudgeNetworkImpl(JudgeKind kind, int classes)
    : body(register_module("body", kind == JudgeKind::kLeNet5 ? LeNet5Body() : ConvNetBody())),
      head(register_module("head", nn::Linear(kind == JudgeKind::kLeNet5 ? 84 : 128, classes))) {}

at::Tensor JudgeInput(const at::Tensor& bytes) { return bytes.unsqueeze(1).to(torch::kFloat32) / 255; }

std::string SerializeJudge(JudgeKind kind, const JudgeNetwork& network) {
  c10::Dict<std::string, at::Tensor> tensors;
  for (const auto& parameter : network->named_parameters()) {
    tensors.insert(parameter.key(), parameter.value().detach().contiguous());
  }
  const std::vector<char> bytes = torch::pickle_save(
      c10::ivalue::Tuple::create(c10::IValue(JudgeName(kind)), c10::IValue(TensorsSha256(network)), tensors));
  return std::string(bytes.begin(), bytes.end());
}

absl::StatusOr<JudgeNetwork> ParseJudge(JudgeKind kind, const std::string& path, std::string_view bytes) {
  Archive archive;
  try {
    archive = ReadArchive(kind, bytes);
  } catch (const std::exception&) {  // LibTorch's messages hold stack traces: not for users
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is not a whole judge of kind ", JudgeName(kind), "; ", kTrainAgain));
  }
  if (archive.sha256 != TensorsSha256(archive.network)) {
    return absl::DataLossError(absl::StrCat(path, ": the tensors do not match their SHA-256; ", kTrainAgain));
  }
  archive.network->eval();
  return archive.network;
}

}  // namespace denoised
