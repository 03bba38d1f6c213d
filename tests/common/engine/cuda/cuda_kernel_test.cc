// What nvcc makes of cuda_kernel.cu, read as PTX; built where there is a CUDA Toolkit, run where there need be no GPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "common/support/file.h"
#include "tests/testing/program.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

class CudaKernelTest : public testing::Test {
 protected:
  // Compiled for `gpu`, with what the build compiles with besides.
  static ProgramResult Compile(const std::string& what, const std::string& gpu, const std::string& out) {
    return RunProgram({DENOISED_NVCC, what, "-arch=" + gpu, "-std=c++20", "-fmad=false", "--expt-relaxed-constexpr",
                       "-Xptxas=-v", "-I" DENOISED_SOURCE_DIR, "-o", out,
                       DENOISED_SOURCE_DIR "/common/engine/cuda/cuda_kernel.cu"});
  }

  const TempFolder folder_;
};

TEST_F(CudaKernelTest, RoundsAsTheCpuDoesAndUsesTheMatrixUnits) {
  const std::string path = folder_.File("kernel.ptx");
  const ProgramResult result = Compile("-ptx", "compute_80", path);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const absl::StatusOr<std::string> ptx = ReadFile(path, uint64_t{1} << 30);
  ASSERT_THAT(ptx, IsOk());
  const auto has = [&](const char* what) {
    return ptx->find(what) != std::string::npos;
  };  // it is too long to be shown
  EXPECT_TRUE(has("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"));
  EXPECT_TRUE(has("ldmatrix.sync.aligned.m8n8.x4.shared.b16"));
  // The CPU takes exact quotients and roots; GroupNorm, which has no bits in common with it, does not.
  EXPECT_TRUE(has("div.rn.f32"));
  EXPECT_TRUE(has("sqrt.rn.f32"));
  EXPECT_FALSE(has("\tsqrt.approx"));
}

// Arrays that are indexed by what is known at run time only, or too many of them, end up in slow memory.
TEST_F(CudaKernelTest, KeepsEverythingInRegisters) {
  const ProgramResult result = Compile("-cubin", "sm_90", folder_.File("kernel.cubin"));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string told = result.out + result.err;
  int kernels = 0;
  const std::regex frame("([0-9]+) bytes stack frame, ([0-9]+) bytes spill stores");
  for (std::sregex_iterator i(told.begin(), told.end(), frame), end; i != end; ++i, ++kernels) {
    EXPECT_EQ((*i)[1], "0") << told;
    EXPECT_EQ((*i)[2], "0") << told;
  }
  EXPECT_EQ(kernels, 6) << told;  // fp16 and fp32: with activations in shared memory, or not, and that of frames
}

// Machine code tells what the compiler knows: LD and ST are for addresses that might be of any memory, and take longer.
TEST_F(CudaKernelTest, KnowsWhereActivationsLie) {
  const std::string tool = DENOISED_CUOBJDUMP;
  if (!std::filesystem::exists(tool))
    GTEST_SKIP() << "there is no cuobjdump beside nvcc; scripts/setup.sh --cuda gets it";
  const std::string path = folder_.File("kernel.cubin");
  ASSERT_EQ(Compile("-cubin", "sm_90", path).exit_code, 0);
  const ProgramResult dump = RunProgram({tool, "--dump-sass", path});
  ASSERT_EQ(dump.exit_code, 0) << dump.err;
  int kernels = 0;
  const std::vector<std::string> functions = absl::StrSplit(dump.out, "Function : ");
  for (size_t i = 1; i < functions.size(); ++i) {
    const std::string name = functions[i].substr(0, functions[i].find('\n'));
    if (name.find("Lb1E") == std::string::npos) continue;  // with activations in the GPU's own memory
    ++kernels;
    for (const char* slow : {" LD.", " ST.", " LDL", " STL"}) {
      EXPECT_EQ(functions[i].find(slow), std::string::npos) << name << " has" << slow;
    }
    EXPECT_NE(functions[i].find(" LDS"), std::string::npos) << name;
  }
  EXPECT_EQ(kernels, 2);  // fp16 and fp32
}

}  // namespace
}  // namespace denoised
