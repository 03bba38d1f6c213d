// File: lesson_network.h
//
// A small U-Net for 32x32 images in torch::nn, with GroupNorm or, as a mistake, with BatchNorm. The product's networks
// leave no room for that.
//
//   LessonUnet unet(/*batch_norm=*/false);     // random weights from torch's generator
//   at::Tensor e = unet(x, t, y);              // x [B,1,32,32], t [B] and y [B] int64 -> [B,1,32,32]
//
// B rows, C channels, H and W pixels. Not thread-safe. Throws what LibTorch throws.
#ifndef DENOISED_TRAINER_LESSONS_LESSON_NETWORK_H_
#define DENOISED_TRAINER_LESSONS_LESSON_NETWORK_H_

#include <torch/torch.h>

namespace denoised {

inline constexpr int kLessonClasses = 10;

// Norm, SiLU, convolution, twice; what the image is and how noisy comes in between. [B,in,H,W] -> [B,out,H,W].
class LessonBlockImpl : public torch::nn::Module {
 public:
  LessonBlockImpl(int in, int out, bool batch_norm);
  at::Tensor forward(const at::Tensor& x, const at::Tensor& e);

 private:
  torch::nn::AnyModule norm1_, norm2_;
  torch::nn::Conv2d conv1_, conv2_, skip_;
  torch::nn::Linear embedding_;
};
TORCH_MODULE(LessonBlock);

// A U-Net at 16x16, 8x8 and 4x4 behind a space-to-depth stem.
class LessonUnetImpl : public torch::nn::Module {
 public:
  explicit LessonUnetImpl(bool batch_norm);

  // x [B,1,32,32], t [B] and y [B] int64 -> [B,1,32,32].
  at::Tensor forward(const at::Tensor& x, const at::Tensor& t, const at::Tensor& y);

 private:
  torch::nn::Embedding label_;
  torch::nn::Linear time_;
  torch::nn::Conv2d stem_, to8_, to4_, from4_, from8_, out_;
  LessonBlock down16_, down8_, middle1_, middle2_, up8_, up16_;
};
TORCH_MODULE(LessonUnet);

}  // namespace denoised

#endif  // DENOISED_TRAINER_LESSONS_LESSON_NETWORK_H_
