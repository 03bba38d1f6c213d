#include "common/checkpoint/unet.h"

#include <torch/csrc/jit/passes/tensorexpr_fuser.h>

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "common/weights/residual_blocks.h"

namespace denoised {
namespace {

using torch::jit::Module;

// ---- Layers: modules that hold parameters; the forward passes below name the operators. -----------------------------

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;
using NamedModules = std::vector<std::pair<std::string, Module>>;

// Uniform in +-1/sqrt(fan_in), PyTorch's default for linear layers and convolutions.
at::Tensor UniformInit(at::IntArrayRef shape, int64_t fan_in) {
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  return torch::empty(shape, torch::kFloat32).uniform_(-bound, bound);
}

// Makes modules. Those of one type share its class and compiled code, as in Python: LibTorch's compiler takes a hundred
// times as long and half a gigabyte over many classes of the same name.
class Layers {
 public:
  // A module of type `type`: its parameters, then its children, in this order. The first of its type compiles `source`.
  Module Make(const std::string& type, const NamedTensors& parameters, const NamedModules& children = {},
              const std::string& source = "") {
    const auto first = first_of_type_.find(type);
    if (first != first_of_type_.end()) return Another(first->second, parameters, children);
    Module module(type);
    module.register_attribute("training", c10::BoolType::get(), false);  // Python's Module expects it
    for (const auto& [name, tensor] : parameters) module.register_parameter(name, tensor, /*is_buffer=*/false);
    for (const auto& [name, child] : children) module.register_module(name, child);
    if (!source.empty()) module.define(source);
    first_of_type_.emplace(type, module);
    return module;
  }

  Module Conv(int in, int out, int kernel) {
    const int64_t fan_in = int64_t{in} * kernel * kernel;
    at::Tensor weight = UniformInit({out, in, kernel, kernel}, fan_in);
    return Layer("Conv2d", std::move(weight), UniformInit({out}, fan_in));
  }
  Module ZeroConv(int in, int out, int kernel) {
    return Layer("Conv2d", torch::zeros({out, in, kernel, kernel}), torch::zeros({out}));
  }
  Module UpConv(int in, int out) {  // 2x2 transposed, stride 2
    const int64_t fan_in = int64_t{out} * 4;
    at::Tensor weight = UniformInit({in, out, 2, 2}, fan_in);
    return Layer("ConvTranspose2d", std::move(weight), UniformInit({out}, fan_in));
  }
  Module Linear(int in, int out) {
    at::Tensor weight = UniformInit({out, in}, in);
    return Layer("Linear", std::move(weight), UniformInit({out}, in));
  }
  Module Norm(int channels) { return Layer("GroupNorm", torch::ones({channels}), torch::zeros({channels})); }
  Module Embedding(int rows, int dim) { return Make("Embedding", {{"weight", torch::randn({rows, dim})}}); }

 private:
  Module Layer(const std::string& type, at::Tensor weight, at::Tensor bias) {
    return Make(type, {{"weight", std::move(weight)}, {"bias", std::move(bias)}});
  }
  static Module Another(const Module& first, const NamedTensors& parameters, const NamedModules& children) {
    Module module = first.copy();
    for (const auto& [name, tensor] : parameters) module.setattr(name, tensor);
    for (const auto& [name, child] : children) module.setattr(name, child._ivalue());
    return module;
  }

  std::map<std::string, Module> first_of_type_;
};

// exp(-ln(10000) k/(K-1)) for k = 0..K-1, in double precision, then cast. Vaswani et al., arXiv 1706.03762, 3.5.
at::Tensor SinusoidFrequencies(int count) {
  const at::Tensor k = torch::arange(count, torch::kFloat64);
  return torch::exp(-std::log(10000.0) * k / (count - 1)).to(torch::kFloat32);
}

// ---- compact --------------------------------------------------------------------------------------------------------

// x [B,in,H,W], e [B,E] -> [B,out,H,W].
Module MakeBlock(Layers& layers, int in, int out, const UnetConfig& config) {
  NamedModules children;
  children.emplace_back("norm1", layers.Norm(in));
  children.emplace_back("conv1", layers.Conv(in, out, 3));
  children.emplace_back("embedding", layers.Linear(config.embedding_dim, 2 * out));
  children.emplace_back("norm2", layers.Norm(out));
  children.emplace_back("conv2", layers.ZeroConv(out, out, 3));
  std::string type = "ResidualBlock", skip = "x";
  if (in != out) {
    children.emplace_back("skip", layers.Conv(in, out, 1));
    type = "ResidualBlockWithSkip";
    skip = "torch.conv2d(x, self.skip.weight, self.skip.bias)";
  }
  return layers.Make(type, {}, children,
                     absl::Substitute(R"(
def forward(self, x: Tensor, e: Tensor) -> Tensor:
    h = torch.silu(torch.group_norm(x, $0, self.norm1.weight, self.norm1.bias))
    h = torch.conv2d(h, self.conv1.weight, self.conv1.bias, padding=[1, 1])
    film = torch.linear(e, self.embedding.weight, self.embedding.bias).unsqueeze(-1).unsqueeze(-1)
    scale, shift = torch.chunk(film, 2, 1)
    h = torch.group_norm(h, $0, self.norm2.weight, self.norm2.bias)
    h = torch.silu(torch.addcmul(shift, h, scale + 1.0))
    h = torch.conv2d(h, self.conv2.weight, self.conv2.bias, padding=[1, 1])
    return $1 + h
)",
                                      config.norm_groups, skip));
}

void AddStage(Layers& layers, Module& unet, const std::string& stage, const UnetConfig& config) {
  for (const auto& [name, in, out] : BlocksOf(config, stage)) {
    unet.register_module(name, MakeBlock(layers, in, out, config));
  }
}

// The lines of the forward pass that run a stage's blocks after the first, on the activations `h`.
std::string FurtherBlocks(const UnetConfig& config, const std::string& stage, const std::string& h) {
  std::string lines;
  for (const ResidualBlock& block : BlocksOf(config, stage)) {
    if (block.name != stage) absl::StrAppend(&lines, "\n    ", h, " = self.", block.name, ".forward(", h, ", e)");
  }
  return lines;
}

Module MakeCompactUnet(const UnetConfig& config) {
  const int c0 = config.channels[0], c1 = config.channels[1], c2 = config.channels[2];
  const int dim = config.embedding_dim;
  Layers layers;
  Module unet = layers.Make("CompactUnet", {});
  unet.register_buffer("frequencies", SinusoidFrequencies(dim / 2));
  unet.register_module("time1", layers.Linear(dim, dim));
  unet.register_module("time2", layers.Linear(dim, dim));
  unet.register_module("label", layers.Embedding(config.num_labels, dim));
  unet.register_module("stem", layers.Conv(4, c0, 3));
  AddStage(layers, unet, "down16", config);
  unet.register_module("to8", layers.Conv(c0, c1, 3));
  AddStage(layers, unet, "down8", config);
  unet.register_module("to4", layers.Conv(c1, c2, 3));
  AddStage(layers, unet, "down4", config);
  AddStage(layers, unet, "middle", config);
  AddStage(layers, unet, "up4", config);
  unet.register_module("from4", layers.Conv(c2, c1, 1));
  AddStage(layers, unet, "up8", config);
  unet.register_module("from8", layers.Conv(c1, c0, 1));
  AddStage(layers, unet, "up16", config);
  unet.register_module("norm_out", layers.Norm(c0));
  unet.register_module("conv_out", layers.ZeroConv(c0, 4, 3));
  unet.define(absl::Substitute(R"(
def embed(self, t: Tensor, y: Tensor) -> Tensor:
    angles = t.unsqueeze(1) * self.frequencies
    e = torch.cat([torch.sin(angles), torch.cos(angles)], 1)
    e = torch.silu(torch.linear(e, self.time1.weight, self.time1.bias))
    e = torch.linear(e, self.time2.weight, self.time2.bias) + torch.embedding(self.label.weight, y)
    return torch.silu(e)

def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    e = self.embed(t, y)
    h = torch.conv2d(torch.pixel_unshuffle(x, 2), self.stem.weight, self.stem.bias, padding=[1, 1])
    h16 = self.down16.forward(h, e)$1
    h = torch.conv2d(h16, self.to8.weight, self.to8.bias, stride=[2, 2], padding=[1, 1])
    h8 = self.down8.forward(h, e)$2
    h = torch.conv2d(h8, self.to4.weight, self.to4.bias, stride=[2, 2], padding=[1, 1])
    h4 = self.down4.forward(h, e)$3
    h = self.middle.forward(h4, e)
    h = self.up4.forward(torch.cat([h, h4], 1), e)$4
    h = torch.conv2d(h, self.from4.weight, self.from4.bias)
    h = self.up8.forward(torch.cat([torch.upsample_nearest2d(h, [8, 8]), h8], 1), e)$5
    h = torch.conv2d(h, self.from8.weight, self.from8.bias)
    h = self.up16.forward(torch.cat([torch.upsample_nearest2d(h, [16, 16]), h16], 1), e)$6
    h = torch.silu(torch.group_norm(h, $0, self.norm_out.weight, self.norm_out.bias))
    h = torch.conv2d(h, self.conv_out.weight, self.conv_out.bias, padding=[1, 1])
    return torch.pixel_shuffle(h, 2)
)",
                               config.norm_groups, FurtherBlocks(config, "down16", "h16"),
                               FurtherBlocks(config, "down8", "h8"), FurtherBlocks(config, "down4", "h4"),
                               FurtherBlocks(config, "up4", "h"), FurtherBlocks(config, "up8", "h"),
                               FurtherBlocks(config, "up16", "h")));
  return unet;
}

// ---- seed -----------------------------------------------------------------------------------------------------------

// (convolution, GroupNorm, LeakyReLU) twice. Child names 0, 1, 3, 4 are those of the Python original's Sequential, in
// which 2 and 5 are the activations. x [B,in,H,W] -> [B,out,H,W].
Module SeedStage(Layers& layers, int in, int out, int groups) {
  NamedModules children;
  children.emplace_back("0", layers.Conv(in, out, 3));
  children.emplace_back("1", layers.Norm(out));
  children.emplace_back("3", layers.Conv(out, out, 3));
  children.emplace_back("4", layers.Norm(out));
  return layers.Make("SeedStage", {}, children,
                     absl::Substitute(R"(
def forward(self, x: Tensor) -> Tensor:
    conv1 = getattr(self, "0")
    norm1 = getattr(self, "1")
    conv2 = getattr(self, "3")
    norm2 = getattr(self, "4")
    x = torch.conv2d(x, conv1.weight, conv1.bias, padding=[1, 1])
    x = torch.leaky_relu(torch.group_norm(x, $0, norm1.weight, norm1.bias), 0.1)
    x = torch.conv2d(x, conv2.weight, conv2.bias, padding=[1, 1])
    return torch.leaky_relu(torch.group_norm(x, $0, norm2.weight, norm2.bias), 0.1)
)",
                                      groups));
}

Module MakeSeedUnet(const UnetConfig& config) {
  const int c0 = config.channels[0], c1 = config.channels[1], c2 = config.channels[2], c3 = config.channels[3];
  const int dim = config.embedding_dim, groups = config.norm_groups;
  Layers layers;
  Module unet = layers.Make("SeedUnet", {});
  unet.register_buffer("frequencies", SinusoidFrequencies(dim / 2));
  unet.register_module("label_embedding", layers.Embedding(config.num_labels, dim));
  unet.register_module("embedding_projector", layers.Linear(2 * dim, c3));
  unet.register_module("down1", SeedStage(layers, 1, c0, groups));
  unet.register_module("down2", SeedStage(layers, c0, c1, groups));
  unet.register_module("down3", SeedStage(layers, c1, c2, groups));
  unet.register_module("bottleneck", SeedStage(layers, c2, c3, groups));
  unet.register_module("up1", layers.UpConv(c3, c2));
  unet.register_module("decode3", SeedStage(layers, 2 * c2, c1, groups));
  unet.register_module("up2", layers.UpConv(c1, c1));
  unet.register_module("decode2", SeedStage(layers, 2 * c1, c0, groups));
  unet.register_module("up3", layers.UpConv(c0, c0));
  unet.register_module("decode1", SeedStage(layers, 2 * c0, c0, groups));
  unet.register_module("final_out", layers.Conv(c0, 1, 1));
  unet.define(R"(
def embed(self, t: Tensor, y: Tensor) -> Tensor:
    angles = t.unsqueeze(1) * self.frequencies
    time = torch.cat([torch.sin(angles), torch.cos(angles)], 1)
    both = torch.cat([torch.embedding(self.label_embedding.weight, y), time], 1)
    return torch.linear(both, self.embedding_projector.weight, self.embedding_projector.bias)

def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    d1 = self.down1.forward(x)
    d2 = self.down2.forward(torch.max_pool2d(d1, [2, 2]))
    d3 = self.down3.forward(torch.max_pool2d(d2, [2, 2]))
    h = self.bottleneck.forward(torch.max_pool2d(d3, [2, 2]))
    h = h + self.embed(t, y).unsqueeze(-1).unsqueeze(-1)
    h = torch.conv_transpose2d(h, self.up1.weight, self.up1.bias, [2, 2])
    h = self.decode3.forward(torch.cat([h, d3], 1))
    h = torch.conv_transpose2d(h, self.up2.weight, self.up2.bias, [2, 2])
    h = self.decode2.forward(torch.cat([h, d2], 1))
    h = torch.conv_transpose2d(h, self.up3.weight, self.up3.bias, [2, 2])
    h = self.decode1.forward(torch.cat([h, d1], 1))
    return torch.conv2d(h, self.final_out.weight, self.final_out.bias)
)");
  return unet;
}

HostTensor ToHost(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.to(torch::kCPU, torch::kFloat32).contiguous();
  return {.shape = plain.sizes().vec(), .values = {plain.data_ptr<float>(), plain.data_ptr<float>() + plain.numel()}};
}

}  // namespace

UnetConfig SeedUnetConfig() {
  return {.architecture = "seed",
          .channels = {64, 128, 256, 512},
          .blocks = {},
          .embedding_dim = 256,
          .norm_groups = 8,
          .num_labels = 10};
}

Module MakeUnet(const UnetConfig& config) {
  // NOTE: the fuser compiles element-wise work by LLVM where LibTorch has that, as Debian 13's: minutes for each number
  // of rows, and nothing to gain beside the convolutions.
  torch::jit::setTensorExprFuserEnabled(false);
  return config.architecture == "seed" ? MakeSeedUnet(config) : MakeCompactUnet(config);
}

Module UnetOf(const UnetConfig& config, const HostTensors& tensors) {
  Module unet = MakeUnet(config);
  const torch::NoGradGuard no_grad;
  const auto set = [&tensors](const std::string& name, const at::Tensor& tensor) {
    const HostTensor& host = tensors.at(name);
    // NOTE: only read from, though from_blob has no way to say so.
    tensor.copy_(torch::from_blob(const_cast<float*>(host.values.data()), host.shape, torch::kFloat32));
  };
  for (const auto& parameter : unet.named_parameters()) set(parameter.name, parameter.value);
  for (const auto& buffer : unet.named_buffers()) set(buffer.name, buffer.value);
  return unet;
}

HostTensors HostTensorsOf(const Module& unet) {
  HostTensors tensors;
  for (const auto& parameter : unet.named_parameters()) tensors[parameter.name] = ToHost(parameter.value);
  for (const auto& buffer : unet.named_buffers()) tensors[buffer.name] = ToHost(buffer.value);
  return tensors;
}

}  // namespace denoised
