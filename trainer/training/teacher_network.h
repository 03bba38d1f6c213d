// File: teacher_network.h
//
// The network of a teacher, which is called far oftener than that of its student and never learns: on the CPU it is run
// as a server runs it, by oneDNN in fp32 (common/engine/cpu/onednn_network.h), where that can, else by LibTorch.
//
//   const TeacherNetwork network = MakeTeacherNetwork(unet, config, 1000, torch::kCPU);
//   const at::Tensor e = network(x, t, y);
#ifndef DENOISED_TRAINER_TRAINING_TEACHER_NETWORK_H_
#define DENOISED_TRAINER_TRAINING_TEACHER_NETWORK_H_

#include <torch/script.h>

#include <functional>

#include "common/model/model_metadata.h"

namespace denoised {

// e [B,1,32,32] of x [B,1,32,32], t [B] and y [B], int64. Several threads may call it at once, with gradients off.
// Throws std::exception when the library below fails.
using TeacherNetwork = std::function<at::Tensor(const at::Tensor& x, const at::Tensor& t, const at::Tensor& y)>;

// `unet` is on `device`, and nobody changes its weights. t is below num_train_timesteps.
TeacherNetwork MakeTeacherNetwork(const torch::jit::Module& unet, const UnetConfig& config, int num_train_timesteps,
                                  torch::Device device);

}  // namespace denoised

#endif  // DENOISED_TRAINER_TRAINING_TEACHER_NETWORK_H_
