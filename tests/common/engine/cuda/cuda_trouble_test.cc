#include "common/engine/cuda/cuda_trouble.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace denoised {
namespace {

// A GPU in order.
CudaFacts Fine() {
  return {.has_device_file = true,
          .driver_version = 13010,
          .runtime_version = 13000,
          .devices = 1,
          .name = "NVIDIA H100",
          .major = 9,
          .minor = 0};
}

TEST(DescribeTroubleTest, ThereIsNoneWithAGpuInOrderNorWithoutAGpu) {
  EXPECT_EQ(DescribeTrouble(Fine()), "");
  EXPECT_EQ(DescribeTrouble({}), "");
  EXPECT_EQ(DescribeTrouble({.has_kernel = false}), "");
  EXPECT_EQ(DescribeTrouble({.runtime_version = 13000, .error = "CUDA driver version is insufficient"}), "");
}

TEST(DescribeTroubleTest, BuildWithoutTheKernel) {
  EXPECT_EQ(DescribeTrouble({.has_kernel = false, .has_device_file = true}),
            "an NVIDIA GPU seems to be here, but this build of denoised was made without the CUDA Toolkit");
}

TEST(DescribeTroubleTest, ContainerWithoutTheDriversLibrary) {
  CudaFacts facts = Fine();
  facts.driver_version = facts.devices = 0;
  EXPECT_EQ(DescribeTrouble(facts),
            "an NVIDIA GPU seems to be here, but no driver library is; in a container, run it with the nvidia runtime");
}

TEST(DescribeTroubleTest, DriverThatIsTooOldSaysWhichBuildItCanRun) {
  CudaFacts facts = Fine();
  facts.driver_version = 12040;
  facts.devices = 0;
  facts.error = "CUDA driver version is insufficient for CUDA runtime version";
  EXPECT_EQ(DescribeTrouble(facts),
            "the driver is for CUDA 12.4, this build for 13.0; update the driver, or use a build made with CUDA 12 "
            "(CUDA says: CUDA driver version is insufficient for CUDA runtime version)");
}

TEST(DescribeTroubleTest, DriverThatFindsNothingSaysWhy) {
  CudaFacts facts = Fine();
  facts.devices = 0;
  facts.error = "no CUDA-capable device is detected";
  EXPECT_EQ(DescribeTrouble(facts),
            "CUDA finds no GPU that it can use: no CUDA-capable device is detected (the driver is for CUDA 13.1, this "
            "build for 13.0)");
}

TEST(DescribeTroubleTest, GpuThatIsTooOld) {
  CudaFacts facts = Fine();
  facts.name = "Tesla T4";
  facts.major = 7;
  facts.minor = 5;
  EXPECT_EQ(DescribeTrouble(facts), "Tesla T4 is of compute capability 7.5, and the kernel needs 8.0 or later");
}

}  // namespace
}  // namespace denoised
