#include "common/engine/cpu/onednn_network.h"

#include <omp.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/engine/cpu/cpu_kernels.h"
#include "common/image/image.h"
#include "common/model/unet_wiring.h"
#include "common/support/status_macros.h"

namespace denoised {

using dnnl::memory;

class OneDnnModel {
 public:
  explicit OneDnnModel(UnetWeights weights) : weights_(std::move(weights)), engine_(dnnl::engine::kind::cpu, 0) {}

  const UnetConfig& config() const { return weights_.config; }
  const dnnl::engine& engine() const { return engine_; }
  const HostTensor& tensor(const std::string& name) const { return weights_.tensors.at(name); }

  // Scale, shift or addend of every channel that depends on timestep and label.
  const float* Conditioning(int64_t t, int64_t y) const {
    const HostTensor& table = weights_.conditioning;
    return table.values.data() + (y * weights_.num_train_timesteps + t) * table.shape[2];
  }

  // A convolution's weights in the layout that a primitive wants; kept for the others that want the same.
  memory Packed(const std::string& name, const memory::desc& wanted) const {
    const std::lock_guard lock(mu_);
    std::vector<memory>& known = packed_[name];
    for (const memory& candidate : known) {
      if (candidate.get_desc() == wanted) return candidate;
    }
    const HostTensor& weight = tensor(name);
    memory plain({weight.shape, memory::data_type::f32, memory::format_tag::oihw}, engine_,
                 const_cast<float*>(weight.values.data()));
    memory packed(wanted, engine_);
    dnnl::stream stream(engine_);
    dnnl::reorder(plain, packed).execute(stream, plain, packed);
    stream.wait();
    known.push_back(packed);
    return packed;
  }

 private:
  const UnetWeights weights_;
  const dnnl::engine engine_;
  mutable std::mutex mu_;
  mutable std::map<std::string, std::vector<memory>> packed_;  // guarded by mu_
};

namespace {

// Activations [rows, size, size, channels] in memory that all numbers of rows share.
struct Layer {
  float* data = nullptr;
  int channels = 0;
  int size = 0;

  int pixels() const { return size * size; }
  int64_t values() const { return int64_t{size} * size * channels; }  // of a row
  float* row(int64_t r) const { return data + r * values(); }
};

// Work of fewer values than this is not worth a second thread.
constexpr int64_t kWorthSharing = 16384;

// While one lives, the calling thread's OpenMP teams, oneDNN's too, have so many threads.
class TeamSize {
 public:
  explicit TeamSize(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~TeamSize() { omp_set_num_threads(before_); }
  TeamSize(const TeamSize&) = delete;
  TeamSize& operator=(const TeamSize&) = delete;

 private:
  const int before_;
};

class OneDnnNetwork : public CpuNetwork {
 public:
  OneDnnNetwork(std::shared_ptr<const OneDnnModel> model, const OneDnnNetworkOptions& options)
      : model_(std::move(model)), options_(options), stream_(model_->engine()), programs_(options.max_rows + 1) {}

  void Predict(absl::Span<const NetworkRow> rows, float* e) override {
    const TeamSize team_size(options_.threads);
    x_.clear();
    conditioning_.clear();
    for (const NetworkRow& row : rows) {
      x_.push_back(row.x);
      conditioning_.push_back(model_->Conditioning(row.t, row.y));
    }
    e_ = e;
    Program& program = programs_.at(rows.size());
    if (program.empty()) program = Compiler(*this, static_cast<int>(rows.size())).Compile();
    for (const std::function<void()>& operation : program) operation();
  }

  void Rest() override { omp_pause_resource_all(omp_pause_soft); }

 private:
  using Program = std::vector<std::function<void()>>;

  // Builds the operations for one number of rows.
  class Compiler {
   public:
    Compiler(OneDnnNetwork& network, int rows) : network_(network), model_(*network.model_), rows_(rows) {}

    Program Compile() {
      WireUnet(*this);
      return std::move(program_);
    }

    // ---- Operations of unet_wiring.h ------------------------------------------------------------------------------

    using Layer = denoised::Layer;

    const UnetConfig& config() const { return model_.config(); }

    // The layer of this name, channels and size: the same memory for every number of rows.
    Layer New(const std::string& name, int channels, int size) {
      Layer layer{.channels = channels, .size = size};
      memory& values = network_.layers_[absl::StrCat(name, " ", channels, " ", size)];
      if (!values) values = network_.Floats(network_.options_.max_rows * layer.values());
      layer.data = static_cast<float*>(values.get_data_handle());
      return layer;
    }

    Layer LoadImage(int channels) {
      const Layer pixels = New("pixels", channels, channels == 4 ? kModelSize / 2 : kModelSize);
      Add([rows = rows_, &network = network_, pixels] {
        for (int row = 0; row < rows; ++row) {
          if (pixels.channels == 4) {
            PixelsToBlocks(network.x_[row], kModelSize, pixels.row(row));
          } else {
            std::copy_n(network.x_[row], pixels.values(), pixels.row(row));
          }
        }
      });
      return pixels;
    }

    void Predict(const std::string& name, const Layer& in, int channels) {
      const Layer out = New("out", channels, in.size);
      Conv(name, in, out);
      if (channels == 4) {
        Add([rows = rows_, &network = network_, out] {
          for (int row = 0; row < rows; ++row) {
            BlocksToPixels(out.row(row), kModelSize, network.e_ + row * out.values());
          }
        });
      } else {
        Add([values = rows_ * out.values(), &network = network_, out] { std::copy_n(out.data, values, network.e_); });
      }
    }

    // out = convolution(in), or out += convolution(in). The stride follows from the sizes.
    void Conv(const std::string& name, const Layer& in, const Layer& out, bool add = false) {
      const memory::dims shape = model_.tensor(name + ".weight").shape;
      const std::vector<float>& bias = model_.tensor(name + ".bias").values;
      const auto describe = [&](const Layer& layer, memory::data_type type) {
        return memory::desc({rows_, layer.channels, layer.size, layer.size}, type, memory::format_tag::nhwc);
      };
      // Neither pixels nor noise have so many channels.
      const bool in_bf16 = network_.options_.precision == Precision::kBf16 && in.channels >= kVectorLanes &&
                           out.channels >= kVectorLanes;
      const memory::data_type type = in_bf16 ? memory::data_type::bf16 : memory::data_type::f32;
      const Layer source = in_bf16 ? Rounded(in) : in;
      const memory::desc source_desc = describe(source, type), out_desc = describe(out, memory::data_type::f32);
      const memory::desc any_weights(shape, type, memory::format_tag::any);
      const memory::desc bias_desc({out.channels}, memory::data_type::f32, memory::format_tag::x);
      const memory::dims strides(2, in.size / out.size), padding(2, shape[2] / 2);
      dnnl::primitive_attr attributes;
      attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
      if (add) {
        dnnl::post_ops sum;
        sum.append_sum();
        attributes.set_post_ops(sum);
      }
      using Convolution = dnnl::convolution_forward;
      constexpr auto kKind = dnnl::prop_kind::forward_inference;
      constexpr auto kAlgorithm = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
      const Convolution::primitive_desc primitive(model_.engine(), kKind, kAlgorithm, source_desc, any_weights,
                                                  bias_desc, out_desc, strides, padding, padding, attributes);
#else
      const Convolution::primitive_desc primitive(
          {kKind, kAlgorithm, source_desc, any_weights, bias_desc, out_desc, strides, padding, padding}, attributes,
          model_.engine());
#endif
      const dnnl::engine& engine = model_.engine();
      const memory scratch(primitive.scratchpad_desc(), engine, nullptr);
      const std::unordered_map<int, memory> arguments = {
          {DNNL_ARG_SRC, memory(primitive.src_desc(), engine, source.data)},
          {DNNL_ARG_WEIGHTS, model_.Packed(name + ".weight", primitive.weights_desc())},
          {DNNL_ARG_BIAS, memory(primitive.bias_desc(), engine, const_cast<float*>(bias.data()))},
          {DNNL_ARG_DST, memory(primitive.dst_desc(), engine, out.data)},
          {DNNL_ARG_SCRATCHPAD, scratch}};
      network_.UseScratch(scratch);
      program_.push_back([&stream = network_.stream_, convolution = Convolution(primitive), arguments] {
        convolution.execute(stream, arguments);
      });
    }

    void Normalize(const std::string& name, Activation activation, const Layer& in, const Layer& out) {
      AddNormalization({.scale = model_.tensor(name + ".weight").values.data(),
                        .shift = model_.tensor(name + ".bias").values.data()},
                       activation, in, out);
    }

    void NormalizeConditionally(Activation activation, const Layer& in, const Layer& out) {
      AddNormalization({.conditioning = conditioning_used_}, activation, in, out);
      conditioning_used_ += 2 * out.channels;
    }

    // A 2x2 transposed convolution of stride 2: see AsConvolution.
    Layer Upsampled(const std::string& name, const Layer& in, int channels) {
      const Layer blocks = New("blocks", 4 * channels, in.size), out = New("upsampled", channels, 2 * in.size);
      Conv(name, in, blocks);
      AddShared(int64_t{rows_} * out.size, int64_t{out.size} * channels, [blocks, out, channels](int64_t item) {
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
      AddShared(int64_t{rows_} * out.size, int64_t{2} * in.size * in.channels, [in, out](int64_t item) {
        const int64_t row = item / out.size;
        MaxPoolLine(in.row(row), in.size, in.channels, static_cast<int>(item % out.size), out.row(row));
      });
      return out;
    }

    // a's channels, then b's; a is enlarged to b's size, each pixel to a block of equal ones.
    Layer Concatenate(const Layer& a, const Layer& b) {
      const Layer out = New("both", a.channels + b.channels, b.size);
      const int scale = b.size / a.size;
      AddShared(int64_t{rows_} * out.size, int64_t{out.size} * out.channels, [a, b, out, scale](int64_t item) {
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
      Add([values = rows_ * in.values(), in, out] { std::copy_n(in.data, values, out.data); });
    }

    void AddConditioning(const Layer& layer) {
      Add([rows = rows_, &conditioning = network_.conditioning_, layer] {
        for (int row = 0; row < rows; ++row) {
          for (int64_t i = 0; i < layer.values(); ++i) layer.row(row)[i] += conditioning[row][i % layer.channels];
        }
      });
    }

   private:
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

    // The layer's values as bfloat16 numbers, in memory that all layers of this shape share.
    Layer Rounded(const Layer& in) {
      const Layer out = New("rounded", in.channels, in.size);
      const int64_t values = int64_t{in.size} * in.channels;  // of a line
      AddShared(int64_t{rows_} * in.size, values, [in, out, values](int64_t line) {
        ToBfloat16(in.data + line * values, values, reinterpret_cast<uint16_t*>(out.data) + line * values);
      });
      return out;
    }

    void Add(std::function<void()> operation) { program_.push_back(std::move(operation)); }

    // Calls work(0) .. work(items-1), which handle `values` numbers each, on the team's threads where that pays.
    template <typename Work>
    void AddShared(int64_t items, int64_t values, Work work) {
      const int threads = items * values < kWorthSharing ? 1 : network_.options_.threads;
      program_.push_back([items, threads, work] {
#pragma omp parallel for num_threads(threads) if (threads > 1)
        for (int64_t item = 0; item < items; ++item) work(item);
      });
    }

    void AddNormalization(const Affine& affine, Activation activation, const Layer& in, const Layer& out) {
      const int group = in.channels / model_.config().norm_groups;
      const int unit = std::max(group, kVectorLanes), units = in.channels / unit;
      AddShared(
          int64_t{rows_} * units, int64_t{in.pixels()} * unit,
          [&conditioning = network_.conditioning_, affine, activation, in, out, group, unit, units](int64_t item) {
            const int64_t row = item / units;
            const int begin = static_cast<int>(item % units) * unit;
            NormalizeGroups(in.row(row), in.pixels(), in.channels, group, begin, begin + unit,
                            affine.RowScale(conditioning[row]), affine.RowShift(conditioning[row], in.channels),
                            activation, out.row(row));
          });
    }

    OneDnnNetwork& network_;
    const OneDnnModel& model_;
    const int rows_;
    Program program_;
    int conditioning_used_ = 0;
  };

  // Makes room for a primitive's scratch memory, which all primitives share.
  void UseScratch(const memory& scratch) {
    scratch_users_.push_back(scratch);
    const size_t bytes = scratch.get_desc().get_size();
    if (!scratch_ || scratch_.get_desc().get_size() < bytes) {
      scratch_ = Floats(static_cast<int64_t>(bytes / sizeof(float)) + 1);
    }
    for (memory& user : scratch_users_) user.set_data_handle(scratch_.get_data_handle());
  }

  // Memory aligned to cache lines, which std::vector's is not.
  memory Floats(int64_t count) const {
    return memory({{count}, memory::data_type::f32, memory::format_tag::a}, model_->engine());
  }

  const std::shared_ptr<const OneDnnModel> model_;
  const OneDnnNetworkOptions options_;
  dnnl::stream stream_;
  std::map<std::string, memory> layers_;  // [max_rows, size, size, channels]
  memory scratch_;
  std::vector<memory> scratch_users_;
  std::vector<Program> programs_;  // by their number of rows; empty until first used

  // Of the call under way.
  std::vector<const float*> x_, conditioning_;  // by row
  float* e_ = nullptr;
};

// Why these sizes cannot be run here, or OK.
absl::Status CheckSizes(const UnetConfig& config) {
  for (const int base : config.channels) {
    for (const int channels : {base, 2 * base}) {
      const int group = channels / config.norm_groups;
      if (channels % kVectorLanes != 0 || group > kMaxGroupChannels ||
          (group % kVectorLanes != 0 && kVectorLanes % group != 0)) {
        return absl::UnimplementedError(absl::StrCat("a layer of ", channels, " channels in ", config.norm_groups,
                                                     " groups does not divide into vectors of ", kVectorLanes));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const OneDnnModel>> MakeOneDnnModel(UnetWeights weights) {
  DENOISED_RETURN_IF_ERROR(CheckSizes(weights.config));
  if (weights.config.architecture == "seed") {
    for (const char* name : {"up1", "up2", "up3"}) {
      AsConvolution(weights.tensors.at(absl::StrCat(name, ".weight")), weights.tensors.at(absl::StrCat(name, ".bias")));
    }
  }
  return std::make_shared<const OneDnnModel>(std::move(weights));
}

bool HasBfloat16() {
  const auto wanted = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & wanted) == wanted;
}

std::unique_ptr<CpuNetwork> MakeOneDnnNetwork(std::shared_ptr<const OneDnnModel> model,
                                              const OneDnnNetworkOptions& options) {
  return std::make_unique<OneDnnNetwork>(std::move(model), options);
}

}  // namespace denoised
