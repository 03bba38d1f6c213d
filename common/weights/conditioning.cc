#include "common/weights/conditioning.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "common/support/vector_clones.h"
#include "common/weights/residual_blocks.h"

namespace denoised {
namespace {

// A linear layer, its weights turned so that the innermost loop goes over outputs.
struct Linear {
  size_t in = 0, out = 0;
  std::vector<float> weight;  // [in, out]
  std::vector<float> bias;    // [out]
};

Linear LinearOf(const HostTensors& tensors, const std::string& name) {
  const HostTensor& weight = tensors.at(name + ".weight");
  Linear layer{.in = static_cast<size_t>(weight.shape[1]),
               .out = static_cast<size_t>(weight.shape[0]),
               .weight = std::vector<float>(weight.values.size()),
               .bias = tensors.at(name + ".bias").values};
  for (size_t o = 0; o < layer.out; ++o) {
    for (size_t i = 0; i < layer.in; ++i) layer.weight[i * layer.out + o] = weight.values[o * layer.in + i];
  }
  return layer;
}

// out [rows, layer.out] = in [rows, layer.in] times the weights, plus the bias. Sums go over inputs in their order.
DENOISED_VECTOR_CLONES void Apply(const Linear& layer, const float* in, size_t rows, float* out) {
  constexpr size_t kRows = 4;  // that share what is read of the weights
  for (size_t row = 0; row < rows; row += kRows) {
    const size_t count = std::min(kRows, rows - row);
    float* const sums = out + row * layer.out;
    for (size_t r = 0; r < count; ++r) std::copy(layer.bias.begin(), layer.bias.end(), sums + r * layer.out);
    for (size_t i = 0; i < layer.in; ++i) {
      const float* const weight = layer.weight.data() + i * layer.out;
      for (size_t r = 0; r < count; ++r) {
        const float x = in[(row + r) * layer.in + i];
        float* const sum = sums + r * layer.out;
        for (size_t o = 0; o < layer.out; ++o) sum[o] += x * weight[o];
      }
    }
  }
}

float Silu(float x) { return x / (1 + std::exp(-x)); }

void ApplySilu(std::vector<float>& values) { std::transform(values.begin(), values.end(), values.begin(), Silu); }

// The timesteps' sinusoids [T, dim]: sines, then cosines. Vaswani et al., arXiv 1706.03762, 3.5.
std::vector<float> Sinusoids(const std::vector<float>& frequencies, int num_train_timesteps) {
  const size_t half = frequencies.size();
  std::vector<float> values(static_cast<size_t>(num_train_timesteps) * 2 * half);
  for (int t = 0; t < num_train_timesteps; ++t) {
    float* const row = values.data() + static_cast<size_t>(t) * 2 * half;
    for (size_t k = 0; k < half; ++k) {
      const double angle = static_cast<float>(t) * frequencies[k];
      row[k] = static_cast<float>(std::sin(angle));
      row[half + k] = static_cast<float>(std::cos(angle));
    }
  }
  return values;
}

// What a residual block does with its scale and shift, folded into its second normalisation's weight and bias.
struct Block {
  Linear embedding;
  std::vector<float> weight, bias;  // of the normalisation, [channels]
};

std::vector<Block> ReadBlocks(const UnetConfig& config, const HostTensors& tensors) {
  std::vector<Block> blocks;
  for (const ResidualBlock& block : AllBlocksOf(config)) {
    blocks.push_back({.embedding = LinearOf(tensors, block.name + ".embedding"),
                      .weight = tensors.at(block.name + ".norm2.weight").values,
                      .bias = tensors.at(block.name + ".norm2.bias").values});
  }
  return blocks;
}

// `film` [2 * channels] is scale - 1 and shift, `columns` [2 * channels] what takes the normalisation's place.
void Fold(const Block& block, const float* film, float* columns) {
  const size_t channels = block.weight.size();
  for (size_t c = 0; c < channels; ++c) {
    const float scale = film[c] + 1;
    columns[c] = scale * block.weight[c];
    columns[channels + c] = scale * block.bias[c] + film[channels + c];
  }
}

void FillCompact(const UnetConfig& config, const HostTensors& tensors, size_t timesteps, size_t width,
                 std::vector<float>& table) {
  const Linear time1 = LinearOf(tensors, "time1"), time2 = LinearOf(tensors, "time2");
  const std::vector<float>& label_embedding = tensors.at("label.weight").values;
  std::vector<float> sinusoids = Sinusoids(tensors.at("frequencies").values, static_cast<int>(timesteps));
  std::vector<float> hidden(timesteps * time1.out), time(timesteps * time2.out), embedding(time.size()), film;
  Apply(time1, sinusoids.data(), timesteps, hidden.data());
  ApplySilu(hidden);
  Apply(time2, hidden.data(), timesteps, time.data());
  const std::vector<Block> blocks = ReadBlocks(config, tensors);
  for (size_t label = 0; label < static_cast<size_t>(config.num_labels); ++label) {
    for (size_t i = 0; i < time.size(); ++i) {
      embedding[i] = time[i] + label_embedding[label * time2.out + i % time2.out];
    }
    ApplySilu(embedding);
    size_t column = label * timesteps * width;
    for (const Block& block : blocks) {
      film.resize(timesteps * block.embedding.out);
      Apply(block.embedding, embedding.data(), timesteps, film.data());
      for (size_t t = 0; t < timesteps; ++t) {
        Fold(block, film.data() + t * block.embedding.out, table.data() + column + t * width);
      }
      column += block.embedding.out;
    }
  }
}

void FillSeed(const UnetConfig& config, const HostTensors& tensors, size_t timesteps, size_t width,
              std::vector<float>& table) {
  const Linear projector = LinearOf(tensors, "embedding_projector");
  const std::vector<float>& label_embedding = tensors.at("label_embedding.weight").values;
  const std::vector<float> sinusoids = Sinusoids(tensors.at("frequencies").values, static_cast<int>(timesteps));
  const size_t dim = sinusoids.size() / timesteps;
  std::vector<float> both(timesteps * 2 * dim);
  for (size_t label = 0; label < static_cast<size_t>(config.num_labels); ++label) {
    for (size_t t = 0; t < timesteps; ++t) {
      std::copy_n(label_embedding.begin() + static_cast<int64_t>(label * dim), dim,
                  both.begin() + static_cast<int64_t>(2 * t * dim));
      std::copy_n(sinusoids.begin() + static_cast<int64_t>(t * dim), dim,
                  both.begin() + static_cast<int64_t>((2 * t + 1) * dim));
    }
    Apply(projector, both.data(), timesteps, table.data() + label * timesteps * width);
  }
}

}  // namespace

int64_t ConditioningWidth(const UnetConfig& config) {
  if (config.architecture == "seed") return config.channels.back();
  int64_t width = 0;
  for (const ResidualBlock& block : AllBlocksOf(config)) width += int64_t{2} * block.out;
  return width;
}

HostTensor ConditioningTable(const UnetConfig& config, const HostTensors& tensors, int num_train_timesteps) {
  const auto width = static_cast<size_t>(ConditioningWidth(config)), labels = static_cast<size_t>(config.num_labels);
  const auto timesteps = static_cast<size_t>(num_train_timesteps);
  HostTensor table{.shape = {config.num_labels, num_train_timesteps, ConditioningWidth(config)},
                   .values = std::vector<float>(labels * timesteps * width)};
  const auto fill = config.architecture == "seed" ? FillSeed : FillCompact;
  fill(config, tensors, timesteps, width, table.values);
  return table;
}

}  // namespace denoised
