#include "trainer/lessons/lesson_network.h"

#include <cmath>

namespace denoised {
namespace {

constexpr int kEmbedding = 64;

torch::nn::AnyModule Norm(int channels, bool batch_norm) {
  if (batch_norm) return torch::nn::AnyModule(torch::nn::BatchNorm2d(channels));
  return torch::nn::AnyModule(torch::nn::GroupNorm(8, channels));
}

torch::nn::Conv2d Conv(int in, int out, int stride = 1) {
  return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 3).stride(stride).padding(1));
}

}  // namespace

LessonBlockImpl::LessonBlockImpl(int in, int out, bool batch_norm)
    : norm1_(Norm(in, batch_norm)),
      norm2_(Norm(out, batch_norm)),
      conv1_(Conv(in, out)),
      conv2_(Conv(out, out)),
      skip_(torch::nn::Conv2dOptions(in, out, 1)),
      embedding_(kEmbedding, out) {
  register_module("norm1", norm1_.ptr());
  register_module("norm2", norm2_.ptr());
  register_module("conv1", conv1_);
  register_module("conv2", conv2_);
  register_module("skip", skip_);
  register_module("embedding", embedding_);
}

at::Tensor LessonBlockImpl::forward(const at::Tensor& x, const at::Tensor& e) {
  at::Tensor h = conv1_(torch::silu(norm1_.forward(x))) + embedding_(e).unsqueeze(-1).unsqueeze(-1);
  return skip_(x) + conv2_(torch::silu(norm2_.forward(h)));
}

LessonUnetImpl::LessonUnetImpl(bool batch_norm)
    : label_(kLessonClasses, kEmbedding),
      time_(kEmbedding, kEmbedding),
      stem_(Conv(4, 32)),
      to8_(Conv(32, 64, 2)),
      to4_(Conv(64, 128, 2)),
      from4_(Conv(128, 64)),
      from8_(Conv(64, 32)),
      out_(Conv(32, 4)),
      down16_(32, 32, batch_norm),
      down8_(64, 64, batch_norm),
      middle1_(128, 128, batch_norm),
      middle2_(128, 128, batch_norm),
      up8_(128, 64, batch_norm),
      up16_(64, 32, batch_norm) {
  register_module("label", label_);
  register_module("time", time_);
  register_module("stem", stem_);
  register_module("to8", to8_);
  register_module("to4", to4_);
  register_module("from4", from4_);
  register_module("from8", from8_);
  register_module("out", out_);
  register_module("down16", down16_);
  register_module("down8", down8_);
  register_module("middle1", middle1_);
  register_module("middle2", middle2_);
  register_module("up8", up8_);
  register_module("up16", up16_);
}

at::Tensor LessonUnetImpl::forward(const at::Tensor& x, const at::Tensor& t, const at::Tensor& y) {
  const at::Tensor k = torch::arange(kEmbedding / 2, torch::kFloat32);
  const at::Tensor angles = t.unsqueeze(1) * torch::exp(-std::log(10000.0) * k / (kEmbedding / 2));
  const at::Tensor e = torch::silu(time_(torch::cat({angles.sin(), angles.cos()}, 1)) + label_(y));
  const at::Tensor h16 = down16_(stem_(torch::pixel_unshuffle(x, 2)), e);
  const at::Tensor h8 = down8_(to8_(h16), e);
  at::Tensor h = from4_(middle2_(middle1_(to4_(h8), e), e));
  h = up8_(torch::cat({torch::upsample_nearest2d(h, {8, 8}), h8}, 1), e);
  h = up16_(torch::cat({torch::upsample_nearest2d(from8_(h), {16, 16}), h16}, 1), e);
  return torch::pixel_shuffle(out_(h), 2);
}

}  // namespace denoised
