#include "common/image/idx.h"

namespace denoised {

std::string IdxHeader(const std::vector<uint32_t>& dimensions) {
  std::string header = {0, 0, 8, static_cast<char>(dimensions.size())};
  for (const uint32_t dimension : dimensions) {
    for (int shift = 24; shift >= 0; shift -= 8) header += static_cast<char>(dimension >> shift & 0xff);
  }
  return header;
}

}  // namespace denoised
