#include "common/engine/cpu/onednn_compiler.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>

#include "common/engine/cpu/cpu_kernels.h"
#include "common/image/image.h"
#include "common/weights/unet_wiring.h"

namespace denoised {
namespace {

using dnnl::memory;
using Convolution = dnnl::convolution_forward;

// Work of fewer values than this is not worth a second thread.
constexpr int64_t kWorthSharing = 16384;

// Activations [rows, H, W, C] as oneDNN sees them.
memory::desc Describe(const OneDnnLayer& layer, int rows, memory::data_type type) {
  return memory::desc({rows, layer.channels, layer.size, layer.size}, type, memory::format_tag::nhwc);
}

// Scratch memory comes from the caller; the result is added to what the output holds where `add`.
dnnl::primitive_attr ConvolutionAttributes(bool add) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (add) {
    dnnl::post_ops sum;
    sum.append_sum();
    attributes.set_post_ops(sum);
  }
  return attributes;
}

// A convolution of `type` with weights of `shape`, whose layout is left to oneDNN. The stride follows from the sizes.
Convolution::primitive_desc DescribeConvolution(const dnnl::engine& engine, const memory::dims& shape,
                                                memory::data_type type, int rows, const OneDnnLayer& in,
                                                const OneDnnLayer& out, bool add) {
  const memory::desc in_desc = Describe(in, rows, type), out_desc = Describe(out, rows, memory::data_type::f32);
  const memory::desc any_weights(shape, type, memory::format_tag::any);
  const memory::desc bias_desc({out.channels}, memory::data_type::f32, memory::format_tag::x);
  const memory::dims strides(2, in.size / out.size), padding(2, shape[2] / 2);
  constexpr auto kKind = dnnl::prop_kind::forward_inference;
  constexpr auto kAlgorithm = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
  return Convolution::primitive_desc(engine, kKind, kAlgorithm, in_desc, any_weights, bias_desc, out_desc, strides,
                                     padding, padding, ConvolutionAttributes(add));
#else
  return Convolution::primitive_desc(
      {kKind, kAlgorithm, in_desc, any_weights, bias_desc, out_desc, strides, padding, padding},
      ConvolutionAttributes(add), engine);
#endif
}

// Per-channel factors and addends of a normalisation: a checkpoint's own, or columns of the conditioning.
struct Affine {
  const float* scale = nullptr;
  const float* shift = nullptr;
  int conditioning = -1;  // column of the scale, behind which the shift follows

  const float* RowScale(const float* row) const { return conditioning < 0 ? scale : row + conditioning; }
  const float* RowShift(const float* row, int channels) const {
    return conditioning < 0 ? shift : row + conditioning + channels;
  }
};

// The operations of unet_wiring.h: each appends to the program what does it.
class Compiler {
 public:
  using Layer = OneDnnLayer;

  Compiler(const OneDnnModel& model, const OneDnnNetworkOptions& options, int rows, OneDnnMemory& memory)
      : model_(model), options_(options), rows_(rows), memory_(memory) {}

  OneDnnProgram Compile() {
    WireUnet(*this);
    return std::move(program_);
  }

  const UnetConfig& config() const { return model_.config(); }

  Layer New(const std::string& name, int channels, int size) { return memory_.Layer(name, channels, size); }

  Layer LoadImage(int channels) {
    const Layer pixels = New("pixels", channels, channels == 4 ? kModelSize / 2 : kModelSize);
    Add([rows = rows_, pixels](const OneDnnCall& call) {
      for (int row = 0; row < rows; ++row) {
        if (pixels.channels == 4) {
          PixelsToBlocks(call.x[row], kModelSize, pixels.row(row));
        } else {
          std::copy_n(call.x[row], pixels.values(), pixels.row(row));
        }
      }
    });
    return pixels;
  }

  void Predict(const std::string& name, const Layer& in, int channels) {
    const Layer out = New("out", channels, in.size);
    Conv(name, in, out);
    if (channels == 4) {
      Add([rows = rows_, out](const OneDnnCall& call) {
        for (int row = 0; row < rows; ++row) {
          BlocksToPixels(out.row(row), kModelSize, call.e + row * out.values());
        }
      });
    } else {
      Add([values = rows_ * out.values(), out](const OneDnnCall& call) { std::copy_n(out.data, values, call.e); });
    }
  }

  void Conv(const std::string& name, const Layer& in, const Layer& out, bool add = false) {
    const dnnl::engine& engine = model_.engine();
    const HostTensor& weight = model_.tensor(name + ".weight");
    const HostTensor& bias = model_.tensor(name + ".bias");
    const bool in_bf16 = InBfloat16(in, out);
    const memory::data_type type = in_bf16 ? memory::data_type::bf16 : memory::data_type::f32;
    const Layer source = in_bf16 ? Rounded(in) : in;
    const Convolution::primitive_desc primitive =
        DescribeConvolution(engine, weight.shape, type, rows_, source, out, add);
    const memory scratch(primitive.scratchpad_desc(), engine, nullptr);
    const std::unordered_map<int, memory> arguments = {
        {DNNL_ARG_SRC, memory(primitive.src_desc(), engine, source.data)},
        {DNNL_ARG_WEIGHTS, model_.Packed(name + ".weight", primitive.weights_desc())},
        {DNNL_ARG_BIAS, memory(primitive.bias_desc(), engine, const_cast<float*>(bias.values.data()))},
        {DNNL_ARG_DST, memory(primitive.dst_desc(), engine, out.data)},
        {DNNL_ARG_SCRATCHPAD, scratch}};
    memory_.ShareScratch(scratch);
    Add([convolution = Convolution(primitive), arguments](const OneDnnCall& call) {
      convolution.execute(call.stream, arguments);
    });
  }

  void Normalize(const std::string& name, Activation activation, const Layer& in, const Layer& out) {
    AddNormalization(
        {.scale = model_.tensor(name + ".weight").values.data(), .shift = model_.tensor(name + ".bias").values.data()},
        activation, in, out);
  }

  void NormalizeConditionally(Activation activation, const Layer& in, const Layer& out) {
    AddNormalization({.conditioning = conditioning_used_}, activation, in, out);
    conditioning_used_ += 2 * out.channels;
  }

  // The model has it as a 1x1 convolution: see AsConvolution.
  Layer Upsampled(const std::string& name, const Layer& in, int channels) {
    const Layer blocks = New("blocks", 4 * channels, in.size), out = New("upsampled", channels, 2 * in.size);
    Conv(name, in, blocks);
    AddShared(int64_t{rows_} * out.size, int64_t{out.size} * channels,
              [blocks, out, channels](const OneDnnCall&, int64_t item) {
                const int64_t row = item / out.size, line = item % out.size;
                for (int64_t column = 0; column < out.size; ++column) {
                  const int64_t block = line % 2 * 2 + column % 2;
                  const float* from = blocks.row(row) + ((line / 2 * blocks.size + column / 2) * 4 + block) * channels;
                  std::copy_n(from, channels, out.row(row) + (line * out.size + column) * channels);
                }
              });
    return out;
  }

  Layer MaxPool(const Layer& in) {
    const Layer out = New("pooled", in.channels, in.size / 2);
    AddShared(int64_t{rows_} * out.size, int64_t{2} * in.size * in.channels,
              [in, out](const OneDnnCall&, int64_t item) {
                const int64_t row = item / out.size;
                MaxPoolLine(in.row(row), in.size, in.channels, static_cast<int>(item % out.size), out.row(row));
              });
    return out;
  }

  // Each pixel of a becomes a block of equal ones.
  Layer Concatenate(const Layer& a, const Layer& b) {
    const Layer out = New("both", a.channels + b.channels, b.size);
    const int scale = b.size / a.size;
    AddShared(int64_t{rows_} * out.size, int64_t{out.size} * out.channels,
              [a, b, out, scale](const OneDnnCall&, int64_t item) {
                const int64_t row = item / out.size, line = item % out.size;
                const float* from_a = a.row(row) + line / scale * a.size * a.channels;
                const float* from_b = b.row(row) + line * b.size * b.channels;
                float* to = out.row(row) + line * out.size * out.channels;
                for (int column = 0; column < out.size; ++column) {
                  to = std::copy_n(from_a + static_cast<int64_t>(column / scale) * a.channels, a.channels, to);
                  to = std::copy_n(from_b + static_cast<int64_t>(column) * b.channels, b.channels, to);
                }
              });
    return out;
  }

  void Copy(const Layer& in, const Layer& out) {
    Add([values = rows_ * in.values(), in, out](const OneDnnCall&) { std::copy_n(in.data, values, out.data); });
  }

  void AddConditioning(const Layer& layer) {
    Add([rows = rows_, layer](const OneDnnCall& call) {
      for (int row = 0; row < rows; ++row) {
        for (int64_t i = 0; i < layer.values(); ++i) layer.row(row)[i] += call.conditioning[row][i % layer.channels];
      }
    });
  }

 private:
  void Add(OneDnnOperation operation) { program_.push_back(std::move(operation)); }

  // Calls work(call, 0) to work(call, items-1), which handle `values` numbers each, on the team's threads where that
  // pays.
  template <typename Work>
  void AddShared(int64_t items, int64_t values, Work work) {
    const int threads = items * values < kWorthSharing ? 1 : options_.threads;
    Add([items, threads, work](const OneDnnCall& call) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
      for (int64_t item = 0; item < items; ++item) work(call, item);
    });
  }

  void AddNormalization(const Affine& affine, Activation activation, const Layer& in, const Layer& out) {
    const int group = in.channels / config().norm_groups;
    const int unit = std::max(group, kVectorLanes), units = in.channels / unit;
    AddShared(int64_t{rows_} * units, int64_t{in.pixels()} * unit,
              [affine, activation, in, out, group, unit, units](const OneDnnCall& call, int64_t item) {
                const int64_t row = item / units;
                const int begin = static_cast<int>(item % units) * unit;
                const float* conditioning = call.conditioning[row];
                NormalizeGroups(in.row(row), in.pixels(), in.channels, group, begin, begin + unit,
                                affine.RowScale(conditioning), affine.RowShift(conditioning, in.channels), activation,
                                out.row(row));
              });
  }

  // Neither pixels nor noise have as many channels as a vector.
  bool InBfloat16(const Layer& in, const Layer& out) const {
    return options_.precision == Precision::kBf16 && in.channels >= kVectorLanes && out.channels >= kVectorLanes;
  }

  // The layer's values as bfloat16 numbers, in memory that all layers of this shape share.
  Layer Rounded(const Layer& in) {
    const Layer out = New("rounded", in.channels, in.size);
    const int64_t values = int64_t{in.size} * in.channels;  // of a line
    AddShared(int64_t{rows_} * in.size, values, [in, out, values](const OneDnnCall&, int64_t line) {
      ToBfloat16(in.data + line * values, values, reinterpret_cast<uint16_t*>(out.data) + line * values);
    });
    return out;
  }

  const OneDnnModel& model_;
  const OneDnnNetworkOptions& options_;
  const int rows_;
  OneDnnMemory& memory_;
  OneDnnProgram program_;
  int conditioning_used_ = 0;  // columns
};

}  // namespace

OneDnnProgram CompileOneDnn(const OneDnnModel& model, const OneDnnNetworkOptions& options, int rows,
                            OneDnnMemory& memory) {
  return Compiler(model, options, rows, memory).Compile();
}

}  // namespace denoised
