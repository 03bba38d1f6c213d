#include "trainer/records/crc32c.h"

#include <gtest/gtest.h>

#include <string>

namespace denoised {
namespace {

// RFC 3720, appendix B.4, and the catalogue's check value.
TEST(Crc32cTest, KnownAnswers) {
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62A8AB43u);
  EXPECT_EQ(Crc32c(""), 0u);
}

}  // namespace
}  // namespace denoised
