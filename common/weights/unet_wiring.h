// File: unet_wiring.h
//
// The U-Nets of unet.h layer by layer, for what runs them without LibTorch. Whoever can do the operations below gets
// them called in order:
//
//   struct Operations {
//     using Layer = ...;                                          // activations, a value type with .channels and .size
//     const UnetConfig& config() const;
//     Layer New(const std::string& name, int channels, int size); // room for activations [rows, size, size, channels]
//     Layer LoadImage(int channels);                              // x: as it is, or its 2x2 blocks as four channels
//     void Predict(const std::string& name, const Layer& in, int channels);     // the last convolution, to e; likewise
//     void Conv(const std::string& name, const Layer& in, const Layer& out, bool add = false);  // out = or out +=
//     void Normalize(const std::string& name, Activation, const Layer& in, const Layer& out);   // weights by name
//     void NormalizeConditionally(Activation, const Layer& in, const Layer& out);  // the conditioning's next columns
//     void AddConditioning(const Layer&);
//     void Copy(const Layer& in, const Layer& out);
//     Layer MaxPool(const Layer& in);                             // of 2x2 blocks
//     Layer Concatenate(const Layer& a, const Layer& b);          // a enlarged to b's size
//     Layer Upsampled(const std::string& name, const Layer& in, int channels);  // transposed convolution of stride 2
//   };
//   WireUnet(operations);
#ifndef DENOISED_COMMON_WEIGHTS_UNET_WIRING_H_
#define DENOISED_COMMON_WEIGHTS_UNET_WIRING_H_

#include <string>
#include <vector>

#include "common/image/image.h"
#include "common/model/model_metadata.h"
#include "common/weights/activation.h"
#include "common/weights/residual_blocks.h"

namespace denoised {

// `out` is `in`, or of another number of channels.
template <typename Operations>
void WireResidualBlock(Operations& ops, const std::string& name, const typename Operations::Layer& in,
                       const typename Operations::Layer& out) {
  const auto first = ops.New("normalized", in.channels, in.size);
  const auto second = ops.New("hidden", out.channels, in.size);
  ops.Normalize(name + ".norm1", Activation::kSilu, in, first);
  ops.Conv(name + ".conv1", first, second);
  ops.NormalizeConditionally(Activation::kSilu, second, second);
  if (in.channels != out.channels) ops.Conv(name + ".skip", in, out);
  ops.Conv(name + ".conv2", second, out, /*add=*/true);
}

// The first of the stage's blocks goes from `in` to `out`, the others from `out` to `out`.
template <typename Operations>
void WireStage(Operations& ops, const std::string& stage, const typename Operations::Layer& in,
               const typename Operations::Layer& out) {
  bool first = true;
  for (const ResidualBlock& block : BlocksOf(ops.config(), stage)) {
    WireResidualBlock(ops, block.name, first ? in : out, out);
    first = false;
  }
}

template <typename Operations>
void WireCompact(Operations& ops) {
  const std::vector<int>& c = ops.config().channels;
  const auto pixels = ops.LoadImage(4);
  const auto h16 = ops.New("h16", c[0], 16), h8 = ops.New("h8", c[1], 8), h4 = ops.New("h4", c[2], 4);
  ops.Conv("stem", pixels, h16);
  WireStage(ops, "down16", h16, h16);
  ops.Conv("to8", h16, h8);
  WireStage(ops, "down8", h8, h8);
  ops.Conv("to4", h8, h4);
  WireStage(ops, "down4", h4, h4);
  const auto middle = ops.New("middle", c[2], 4), up4 = ops.New("up4", c[2], 4);
  ops.Copy(h4, middle);
  WireStage(ops, "middle", middle, middle);
  WireStage(ops, "up4", ops.Concatenate(middle, h4), up4);
  const auto from4 = ops.New("from4", c[1], 4), up8 = ops.New("up8", c[1], 8);
  ops.Conv("from4", up4, from4);
  WireStage(ops, "up8", ops.Concatenate(from4, h8), up8);
  const auto from8 = ops.New("from8", c[0], 8), up16 = ops.New("up16", c[0], 16);
  ops.Conv("from8", up8, from8);
  WireStage(ops, "up16", ops.Concatenate(from8, h16), up16);
  ops.Normalize("norm_out", Activation::kSilu, up16, up16);
  ops.Predict("conv_out", up16, 4);
}

template <typename Operations>
void WireSeedStage(Operations& ops, const std::string& name, const typename Operations::Layer& in,
                   const typename Operations::Layer& out) {
  const auto hidden = ops.New("hidden", out.channels, out.size);
  ops.Conv(name + ".0", in, hidden);
  ops.Normalize(name + ".1", Activation::kLeakyRelu, hidden, hidden);
  ops.Conv(name + ".3", hidden, out);
  ops.Normalize(name + ".4", Activation::kLeakyRelu, out, out);
}

template <typename Operations>
void WireSeed(Operations& ops) {
  const std::vector<int>& c = ops.config().channels;
  const auto pixels = ops.LoadImage(1);
  const auto d1 = ops.New("d1", c[0], 32), d2 = ops.New("d2", c[1], 16), d3 = ops.New("d3", c[2], 8);
  const auto bottom = ops.New("bottom", c[3], 4);
  WireSeedStage(ops, "down1", pixels, d1);
  WireSeedStage(ops, "down2", ops.MaxPool(d1), d2);
  WireSeedStage(ops, "down3", ops.MaxPool(d2), d3);
  WireSeedStage(ops, "bottleneck", ops.MaxPool(d3), bottom);
  ops.AddConditioning(bottom);
  const auto u3 = ops.New("u3", c[1], 8), u2 = ops.New("u2", c[0], 16), u1 = ops.New("u1", c[0], 32);
  WireSeedStage(ops, "decode3", ops.Concatenate(ops.Upsampled("up1", bottom, c[2]), d3), u3);
  WireSeedStage(ops, "decode2", ops.Concatenate(ops.Upsampled("up2", u3, c[1]), d2), u2);
  WireSeedStage(ops, "decode1", ops.Concatenate(ops.Upsampled("up3", u2, c[0]), d1), u1);
  ops.Predict("final_out", u1, 1);
}

template <typename Operations>
void WireUnet(Operations& ops) {
  if (ops.config().architecture == "seed") {
    WireSeed(ops);
  } else {
    WireCompact(ops);
  }
}

}  // namespace denoised

#endif  // DENOISED_COMMON_WEIGHTS_UNET_WIRING_H_
