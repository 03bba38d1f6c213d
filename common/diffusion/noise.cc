#include "common/diffusion/noise.h"

#include <algorithm>

#include "common/support/vector_clones.h"

namespace denoised {
namespace {

constexpr int kBlocks = 64;  // Philox blocks at a time

// The blocks first .. first+kBlocks-1 of a field: out [4 * kBlocks]. Loops over arrays, which compilers turn into
// vector instructions.
DENOISED_VECTOR_CLONES
void FillBlocks(const NoiseKey& key, uint32_t first, float* out) {
  const std::array<uint32_t, 2> philox_key = {static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32)};
  uint32_t words[4][kBlocks];
  float normals[4][kBlocks];
  for (int i = 0; i < kBlocks; ++i) {
    const std::array<uint64_t, 4> r =
        Philox4x32<uint64_t>({first + static_cast<uint32_t>(i), key.image_index, key.stream, 0}, philox_key);
    words[0][i] = static_cast<uint32_t>(r[0]);
    words[1][i] = static_cast<uint32_t>(r[1]);
    words[2][i] = static_cast<uint32_t>(r[2]);
    words[3][i] = static_cast<uint32_t>(r[3]);
  }
  for (int half = 0; half < 4; half += 2) {
    for (int i = 0; i < kBlocks; ++i) {
      const std::array<float, 2> pair = NormalPair(words[half][i], words[half + 1][i]);
      normals[half][i] = pair[0];
      normals[half + 1][i] = pair[1];
    }
  }
  for (int i = 0; i < kBlocks; ++i) {
    out[4 * i] = normals[0][i];
    out[4 * i + 1] = normals[1][i];
    out[4 * i + 2] = normals[2][i];
    out[4 * i + 3] = normals[3][i];
  }
}

}  // namespace

void FillNoise(const NoiseKey& key, absl::Span<float> out) {
  constexpr size_t kValues = 4 * kBlocks;
  for (size_t n = 0; n < out.size(); n += kValues) {
    const auto first = static_cast<uint32_t>(n / 4);
    if (out.size() - n >= kValues) {
      FillBlocks(key, first, out.data() + n);
    } else {
      float rest[kValues];
      FillBlocks(key, first, rest);
      std::copy_n(rest, out.size() - n, out.begin() + n);
    }
  }
}

}  // namespace denoised
