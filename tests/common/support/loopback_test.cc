#include "common/support/loopback.h"

#include <gtest/gtest.h>

namespace denoised {
namespace {

TEST(IsLoopback, AddressesOfThisMachineAlone) {
  for (const char* address :
       {"127.0.0.1:50051", "127.8.9.10:0", "localhost:50051", "[::1]:50051", "unix:/run/x", "unix-abstract:x"}) {
    EXPECT_TRUE(IsLoopback(address)) << address;
  }
}

TEST(IsLoopback, NothingElse) {
  for (const char* address : {"0.0.0.0:50051", "192.0.2.7:1", "[::]:50051", "127.0.0.1.example.org:1",
                              "localhost.example.org:1", "example.org:50051", "", ":50051", "dns:///127.0.0.1:1"}) {
    EXPECT_FALSE(IsLoopback(address)) << address;
  }
}

}  // namespace
}  // namespace denoised
