#include "common/engine/cuda/network_program.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/image/image.h"
#include "common/weights/unet_wiring.h"

namespace denoised {
namespace {

constexpr int kPixelPadding = 8;  // values between pixels, so that the pixels of a tile lie in different banks
constexpr int kMinGroupChannels = 4, kMaxGroupChannels = 64;
constexpr int kConstantsUnit = 4;    // which threads load at once
constexpr int kTileRows = 16;        // pixels of a matrix product
constexpr int kLog2DepthSplits = 2;  // of layers that have no more pixels

int RoundUp(int value, int unit) { return (value + unit - 1) / unit * unit; }
int Log2(int value) { return std::bit_width(static_cast<unsigned>(value)) - 1; }

// The operations of unet_wiring.h.
class Compiler {
 public:
  // Two buffers for concatenated layers, else one.
  struct Layer {
    int channels = 0, size = 0;
    int a = -1, b = -1;
  };

  Compiler(const UnetWeights& weights, Precision precision) : weights_(weights) {
    program_.precision = precision;
    program_.norm_groups = weights.config.norm_groups;
  }

  NetworkProgram Compile() {
    WireUnet(*this);
    program_.weights.resize(program_.weights.size() + size_t{kTilesAhead} * kTileValues);
    PlaceBuffers();
    for (const Buffer& buffer : buffers_) program_.widest = std::max(program_.widest, buffer.channels);
    return std::move(program_);
  }

  const UnetConfig& config() const { return weights_.config; }

  Layer New(const std::string& /*name*/, int channels, int size) {
    buffers_.push_back({.channels = RoundUp(channels, kChannelUnit), .size = size});
    return {.channels = channels, .size = size, .a = static_cast<int>(buffers_.size()) - 1};
  }

  Layer LoadImage(int channels) {
    const Layer pixels = New("pixels", channels, channels == 4 ? kModelSize / 2 : kModelSize);
    Add({.kind = Operation::Kind::kLoadImage}, {}, pixels);
    return pixels;
  }

  void Conv(const std::string& name, const Layer& in, const Layer& out, bool add = false) {
    Convolve(weights_.tensors.at(name + ".weight"), weights_.tensors.at(name + ".bias"), in, out,
             {.log2_size = Log2(out.size), .add = add});
  }

  void Predict(const std::string& name, const Layer& in, int channels) {
    Convolve(weights_.tensors.at(name + ".weight"), weights_.tensors.at(name + ".bias"), in, {},
             {.log2_size = Log2(in.size), .spread = channels == 4, .predicts_noise = true});
  }

  Layer Upsampled(const std::string& name, const Layer& in, int channels) {
    HostTensor weight = weights_.tensors.at(name + ".weight"), bias = weights_.tensors.at(name + ".bias");
    AsConvolution(weight, bias);
    const Layer out = New("upsampled", channels, 2 * in.size);
    Convolve(weight, bias, in, out, {.log2_size = Log2(in.size), .spread = true});
    return out;
  }

  void Normalize(const std::string& name, Activation activation, const Layer& in, const Layer& out) {
    const int scale = Constants(weights_.tensors.at(name + ".weight")),
              shift = Constants(weights_.tensors.at(name + ".bias"));
    AddNormalization({.scale = scale, .shift = shift, .activation = activation}, in, out);
  }

  void NormalizeConditionally(Activation activation, const Layer& in, const Layer& out) {
    AddNormalization({.conditional = true,
                      .scale = conditioning_used_,
                      .shift = conditioning_used_ + in.channels,
                      .activation = activation},
                     in, out);
    conditioning_used_ += 2 * in.channels;
  }

  void AddConditioning(const Layer& layer) {
    Add({.kind = Operation::Kind::kAddConditioning, .log2_size = Log2(layer.size)}, {}, layer);
  }

  void Copy(const Layer& in, const Layer& out) {
    Add({.kind = Operation::Kind::kCopy, .log2_size = Log2(in.size)}, in, out);
  }

  Layer MaxPool(const Layer& in) {
    const Layer out = New("pooled", in.channels, in.size / 2);
    Add({.kind = Operation::Kind::kMaxPool, .log2_size = Log2(out.size)}, in, out);
    return out;
  }

  Layer Concatenate(const Layer& a, const Layer& b) {
    return {.channels = a.channels + b.channels, .size = b.size, .a = a.a, .b = b.a};
  }

 private:
  struct Buffer {
    int channels = 0, size = 0;
    int other_values = 0;       // of a buffer that is no layer
    int first = -1, last = -1;  // operations that use it
    int offset = 0;

    int stride() const { return channels + kPixelPadding; }
    int values() const { return channels > 0 ? size * size * stride() : other_values; }
  };
  struct Uses {
    int a = -1, b = -1, out = -1, partials = -1;  // buffers of an operation
  };

  void Add(const Operation& operation, const Layer& in, const Layer& out, int partials = -1) {
    const int index = static_cast<int>(program_.operations.size());
    for (const int buffer : {in.a, in.b, out.a, partials}) {
      if (buffer < 0) continue;
      if (buffers_[buffer].first < 0) buffers_[buffer].first = index;
      buffers_[buffer].last = index;
    }
    program_.operations.push_back(operation);
    uses_.push_back({.a = in.a, .b = in.b, .out = out.a, .partials = partials});
  }

  void AddNormalization(Operation operation, const Layer& in, const Layer& out) {
    operation.kind = Operation::Kind::kNormalize;
    operation.log2_size = Log2(in.size);
    operation.group_channels = in.channels / config().norm_groups;
    Add(operation, in, out);
  }

  void Convolve(const HostTensor& weight, const HostTensor& bias, const Layer& in, const Layer& out,
                Operation operation) {
    operation.kind = Operation::Kind::kConvolve;
    operation.kernel_size = static_cast<int>(weight.shape[2]);
    operation.log2_stride = Log2(in.size) - operation.log2_size;
    operation.out_channels = static_cast<int>(weight.shape[0]);
    operation.column_tiles = RoundUp(operation.out_channels, kTileChannels) / kTileChannels;
    operation.weights = static_cast<int64_t>(program_.weights.size()) / kTileValues;
    operation.bias = Constants(bias);
    const int64_t in_a = in.b < 0 ? weight.shape[1] : buffers_[in.a].channels;
    AppendTiles(weight, in_a);
    const int taps = operation.kernel_size * operation.kernel_size;
    operation.depth_a = taps * buffers_[in.a].channels / kTileDepth;
    operation.depth = operation.depth_a + (in.b < 0 ? 0 : taps * buffers_[in.b].channels / kTileDepth);
    Add(operation, in, out, SplitDepth(operation));
  }

  // With as few pixels as one tile has, an image has no work for all warps unless they share the sums. The buffer for
  // their parts, or -1.
  int SplitDepth(Operation& operation) {
    if ((1 << 2 * operation.log2_size) > kTileRows || operation.predicts_noise || operation.spread) return -1;
    operation.log2_splits = kLog2DepthSplits;
    const int floats = (kTileRows << kLog2DepthSplits) * PartialsStride(operation.column_tiles);
    const int values_per_float = program_.precision == Precision::kFp16 ? 2 : 1;
    buffers_.push_back({.other_values = floats * values_per_float});
    return static_cast<int>(buffers_.size()) - 1;
  }

  int Constants(const HostTensor& tensor) {
    const auto offset = static_cast<int>(program_.constants.size());
    program_.constants.insert(program_.constants.end(), tensor.values.begin(), tensor.values.end());
    program_.constants.resize(RoundUp(static_cast<int>(program_.constants.size()), kConstantsUnit));
    return offset;
  }

  // weight [out, in, kernel, kernel] in tiles, where the first `in_a` of the input's channels are a's: those of a, then
  // those of b, each as a matrix [kernel, kernel, in, out].
  void AppendTiles(const HostTensor& weight, int64_t in_a) {
    const int64_t out = weight.shape[0], in = weight.shape[1], taps = weight.shape[2] * weight.shape[3];
    const int64_t depth_a = RoundUp(static_cast<int>(in_a), kChannelUnit) / kTileDepth;
    const int64_t depth_b = (in - in_a) / kTileDepth;
    const int64_t depth = taps * (depth_a + depth_b);
    const int64_t columns = RoundUp(static_cast<int>(out), kTileChannels * kPairedColumns) / kTileChannels;
    const size_t begin = program_.weights.size();
    program_.weights.resize(begin + static_cast<size_t>(columns * depth * kTileValues));
    for (int64_t o = 0; o < out; ++o) {
      for (int64_t i = 0; i < in; ++i) {
        for (int64_t tap = 0; tap < taps; ++tap) {
          const int64_t row =
              i < in_a ? tap * depth_a + i / kTileDepth : taps * depth_a + tap * depth_b + (i - in_a) / kTileDepth;
          const int64_t column = o / kTileChannels;
          const int64_t tile = (column / kPairedColumns * depth + row) * kPairedColumns + column % kPairedColumns;
          const int within = WeightTileIndex(program_.precision, static_cast<int>(i % kTileDepth),
                                             static_cast<int>(o % kTileChannels));
          program_.weights[begin + tile * kTileValues + within] = weight.values[(o * in + i) * taps + tap];
        }
      }
    }
  }

  // Each buffer, the largest first, at the lowest place where nothing lies that is in use at the same time.
  void PlaceBuffers() {
    std::vector<Buffer*> by_size, placed;
    for (Buffer& buffer : buffers_) by_size.push_back(&buffer);
    std::stable_sort(by_size.begin(), by_size.end(),
                     [](const Buffer* a, const Buffer* b) { return a->values() > b->values(); });
    for (Buffer* const next : by_size) {
      Buffer& buffer = *next;
      bool moved = true;
      while (moved) {
        moved = false;
        for (const Buffer* other : placed) {
          const bool same_time = buffer.first <= other->last && other->first <= buffer.last;
          const bool same_place =
              buffer.offset < other->offset + other->values() && other->offset < buffer.offset + buffer.values();
          if (same_time && same_place) {
            buffer.offset = other->offset + other->values();
            moved = true;
          }
        }
      }
      placed.push_back(next);
      program_.values_per_image = std::max(program_.values_per_image, buffer.offset + buffer.values());
    }
    for (size_t i = 0; i < uses_.size(); ++i) {
      program_.operations[i].a = LayoutOf(uses_[i].a);
      program_.operations[i].b = LayoutOf(uses_[i].b);
      program_.operations[i].out = LayoutOf(uses_[i].out);
      if (uses_[i].partials >= 0) program_.operations[i].partials = buffers_[uses_[i].partials].offset;
    }
  }

  Layout LayoutOf(int index) const {
    if (index < 0) return {};
    const Buffer& buffer = buffers_[index];
    return {.offset = buffer.offset,
            .channels = buffer.channels,
            .stride = buffer.stride(),
            .log2_size = Log2(buffer.size)};
  }

  const UnetWeights& weights_;
  NetworkProgram program_;
  std::vector<Buffer> buffers_;
  std::vector<Uses> uses_;  // by operation
  int conditioning_used_ = 0;
};

// Why the kernel cannot run these sizes, or OK.
absl::Status CheckSizes(const UnetConfig& config) {
  const int concatenated = config.architecture == "seed" ? 1 : 2;  // layers that are normalised together
  for (const int base : config.channels) {
    for (const int channels : {base, concatenated * base}) {
      const int group = channels / config.norm_groups;
      if (channels % kChannelUnit != 0 || channels > kMaxChannels ||
          !std::has_single_bit(static_cast<unsigned>(channels)) || group < kMinGroupChannels ||
          config.norm_groups < concatenated || group > kMaxGroupChannels ||
          !std::has_single_bit(static_cast<unsigned>(config.norm_groups))) {
        return absl::UnimplementedError(absl::StrCat("a layer of ", channels, " channels in ", config.norm_groups,
                                                     " groups, where the CUDA kernel wants powers of "
                                                     "two, ",
                                                     kChannelUnit, " to ", kMaxChannels, " channels and ",
                                                     kMinGroupChannels, " to ", kMaxGroupChannels,
                                                     " of them in a group"));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

int WeightTileIndex(Precision precision, int k, int n) {
  if (precision == Precision::kFp32) return k * kTileChannels + n;
  const int lane = n % 8 * 4 + k % 8 / 2;
  return lane * 8 + n / 8 * 4 + k / 8 * 2 + k % 2;
}

absl::StatusOr<NetworkProgram> CompileNetwork(UnetWeights weights, Precision precision) {
  if (precision != Precision::kFp32 && precision != Precision::kFp16) {
    return absl::InvalidArgumentError(absl::StrCat("the CUDA kernel has no ", PrecisionName(precision)));
  }
  if (const absl::Status status = CheckSizes(weights.config); !status.ok()) return status;
  NetworkProgram program = Compiler(weights, precision).Compile();
  program.conditioning = std::move(weights.conditioning);
  return program;
}

}  // namespace denoised
