#include "common/engine/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/engine/cpu/onednn_network.h"
#include "common/engine/cuda/cuda_engine.h"
#include "common/engine/torch/torch_cuda.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::HasSubstr;

TEST(ResolveDeviceTest, CpuIsAlwaysThere) { EXPECT_EQ(*ResolveDevice("cpu"), "cpu"); }

TEST(ResolveDeviceTest, AutoIsSomewhere) {
  const absl::StatusOr<std::string> device = ResolveDevice("auto");
  ASSERT_THAT(device, IsOk());
  EXPECT_EQ(*device, TorchCudaDevices() + CudaDeviceCount() > 0 ? "cuda:0" : "cpu");
}

TEST(ResolveDeviceTest, MalformedNamesAreSaid) {
  for (const char* name : {"gpu", "", "cuda:", "cuda:x", "cuda:-1", "cpu:0"}) {
    EXPECT_THAT(ResolveDevice(name),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         std::string("--device must be auto, cpu, cuda or cuda:N, got \"") + name + "\""));
  }
}

TEST(CudaIndexOfTest, IsTheNumberBehindTheColon) {
  EXPECT_EQ(CudaIndexOf("cuda:0"), 0);
  EXPECT_EQ(CudaIndexOf("cuda:12"), 12);
  EXPECT_EQ(CudaIndexOf(kEmulatedCuda), 0);
}

// Two images to a block, a block to a multiprocessor: 264 on an H100.
TEST(CudaRowsThatFillTest, AreTwoForEachMultiprocessorOrNone) {
  const int rows = CudaRowsThatFill(0);
  EXPECT_EQ(rows % 2, 0);
  EXPECT_EQ(rows > 0, CudaDeviceCount() > 0 || CudaTrouble().find("compute capability") != std::string::npos);
  EXPECT_EQ(CudaRowsThatFill(1000), 0);
}

TEST(ResolveDeviceTest, AbsentDeviceIsSaid) {
  EXPECT_THAT(ResolveDevice("cuda:77"), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--device")));
}

TEST(ResolvePrecisionTest, AutoIsWhatTheDeviceDoesBest) {
  EXPECT_EQ(*ResolvePrecision(Precision::kAuto, "cuda:0"), Precision::kFp16);
  EXPECT_EQ(*ResolvePrecision(Precision::kAuto, "cpu"), HasBfloat16() ? Precision::kBf16 : Precision::kFp32);
  for (const char* device : {"cpu", "cuda:0"}) {
    EXPECT_EQ(*ResolvePrecision(Precision::kFp32, device), Precision::kFp32);
  }
}

TEST(ResolvePrecisionTest, WhatADeviceLacksIsSaid) {
  EXPECT_THAT(
      ResolvePrecision(Precision::kBf16, "cuda:0"),
      StatusIs(absl::StatusCode::kInvalidArgument, "--precision=bf16 is for CPUs; on CUDA use auto, fp16 or fp32"));
  EXPECT_THAT(
      ResolvePrecision(Precision::kFp16, "cpu"),
      StatusIs(absl::StatusCode::kInvalidArgument, "--precision=fp16 is for CUDA; on the CPU use auto, bf16 or fp32"));
}

}  // namespace
}  // namespace denoised
