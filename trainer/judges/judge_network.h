// File: judge_network.h
//
// The judges as LibTorch modules, and as bytes. Those who only ask a judge want judges.h.
//
//   JudgeNetwork network(JudgeKind::kLeNet5, /*classes=*/10);   // random weights from torch's generator
//   at::Tensor features = network->Features(x);                 // x [B,1,32,32] -> [B,D]
//   at::Tensor logits = network->head(features);                // [B,K]
//
// B rows, D features, K classes. x holds pixels in [0, 1].
#ifndef DENOISED_TRAINER_JUDGES_JUDGE_NETWORK_H_
#define DENOISED_TRAINER_JUDGES_JUDGE_NETWORK_H_

#include <torch/torch.h>

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "trainer/judges/judges.h"

namespace denoised {

struct JudgeNetworkImpl : torch::nn::Module {
  JudgeNetworkImpl(JudgeKind kind, int classes);

  // Thread-safe in evaluation mode.
  at::Tensor Features(const at::Tensor& x) { return body->forward(x); }

  torch::nn::Sequential body = nullptr;
  torch::nn::Linear head = nullptr;
};
TORCH_MODULE(JudgeNetwork);

// Bytes [B,32,32] to what the network takes.
at::Tensor JudgeInput(const at::Tensor& bytes);

// Name, SHA-256 of the tensors, and the tensors by name; "head.bias" has a number for each class. The same weights give
// the same bytes.
std::string SerializeJudge(JudgeKind kind, const JudgeNetwork& network);

// The inverse, in evaluation mode; `path` is for messages. Errors as LoadJudge's.
absl::StatusOr<JudgeNetwork> ParseJudge(JudgeKind kind, const std::string& path, std::string_view bytes);

}  // namespace denoised

#endif  // DENOISED_TRAINER_JUDGES_JUDGE_NETWORK_H_
