#include "common/noise.h"

#include <algorithm>

namespace denoised {

void FillNoise(const NoiseKey& key, absl::Span<float> out) {
  const std::array<uint32_t, 2> philox_key = {static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32)};
  for (size_t n = 0; n < out.size(); n += 4) {
    const std::array<uint32_t, 4> r =
        Philox4x32({static_cast<uint32_t>(n / 4), key.image_index, key.stream, 0}, philox_key);
    const std::array<float, 2> first = NormalPair(r[0], r[1]);
    const std::array<float, 2> second = NormalPair(r[2], r[3]);
    const std::array<float, 4> block = {first[0], first[1], second[0], second[1]};
    std::copy_n(block.begin(), std::min<size_t>(4, out.size() - n), out.begin() + n);
  }
}

}  // namespace denoised
