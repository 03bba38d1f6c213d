// scripts/gpu_report.sh, rehearsed with stubs of nvidia-smi and of the programs that it runs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// A machine with a GPU, where all goes well until a test says otherwise.
class GpuReportTest : public testing::Test {
 protected:
  GpuReportTest() {
    for (const char* folder : {"bin", "programs", "scripts", "tests/gpu", "docs/benchmarks", "out"}) {
      std::filesystem::create_directories(machine_.File(folder));
    }
    for (const char* file : {"scripts/gpu_report.sh", "scripts/common.sh", "tests/gpu/write_report.py",
                             "tests/gpu/torch_marks.py", "docs/benchmarks/cuda.md"}) {
      std::filesystem::copy_file(std::string(DENOISED_SOURCE_DIR "/") + file, machine_.File(file));
    }
    Write("bin/nvidia-smi", "echo 'NVIDIA Stub, 999.1, 1980 MHz, 1990 MHz, 3201 MHz, 132 W, 700.00 W, 42'\n");
    Write("programs/gpu_tests", "echo '[  PASSED  ] 16 tests.'\n");
    Write("programs/gpu_marks",
          "out=; while (($#)); do if [[ $1 == --out ]]; then out=$2; fi; shift; done\n"
          "[[ -z $out ]] || echo '{\"operations_per_row\": 9e7, \"engines\": [{\"precision\": \"fp16\", "
          "\"description\": \"a stub\", \"cases\": [{\"name\": \"8\", \"images\": 8, \"guided\": 0, \"frames\": 0, "
          "\"seconds\": [0.002, 0.004, 0.002], \"kernel_seconds\": [0.001, 0.001, 0.001]}]}]}' >$out\n");
    Write("programs/denoised", "echo 'listening on 127.0.0.1:1'; echo 'metrics on http://127.0.0.1:2'; sleep 60\n");
    // A picture is its digit, seed and number.
    Write("programs/denoise",
          "digit=$1 count= index= out= seed=\n"
          "while (($#)); do case $1 in --count) count=$2 ;; --index) index=$2 ;; --out) out=$2 ;; --seed) seed=$2 ;; "
          "esac; shift; done\n"
          "if [[ $digit == bench ]]; then echo '256 in flight  1234.56'; exit; fi\n"
          "if [[ $index ]]; then echo \"$digit $seed $index\" >$out; fi\n"
          "for ((i = 0; i < ${count:-0}; ++i)); do echo \"$digit $seed $i\" >${out%.png}-$i.png; done\n");
  }

  void Write(const std::string& name, const std::string& script) {
    std::filesystem::permissions(machine_.Write(name, "#!/bin/bash\n" + script), std::filesystem::perms::owner_all);
  }

  ProgramResult RunReport() {
    return RunProgram({"/bin/bash", machine_.File("scripts/gpu_report.sh"), "--programs", machine_.File("programs"),
                       "--out", machine_.File("out")},
                      {"PATH=" + machine_.File("bin") + ":/usr/bin:/bin"});
  }
  std::string report() const { return Slurp(machine_.File("out/cuda.md")); }

  TempFolder machine_;
};

TEST_F(GpuReportTest, WritesWhatItFound) {
  const ProgramResult result = RunReport();
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_THAT(report(), AllOf(HasSubstr("On one NVIDIA Stub, driver 999.1"), HasSubstr("| Tests | passed, 16 tests |"),
                              HasSubstr("| 8 | 2.0000 | 100.0 % | 1.0000 | 4.0 | 0.4 |"),
                              HasSubstr("1000 images were drawn at the same time, 30 of them again alone: the same"),
                              HasSubstr("256 in flight  1234.56")));
  // What is written by people stays, and the figures of another machine do not.
  EXPECT_THAT(report(),
              AllOf(HasSubstr("# On a GPU"), HasSubstr("## What limits it"), Not(HasSubstr("NVIDIA H200, "))));
  EXPECT_EQ(nlohmann::json::parse(Slurp(machine_.File("out/cuda.json")))["marks"]["engines"][0]["precision"], "fp16");
}

TEST_F(GpuReportTest, WithoutAGpuSaysSoAndMeasuresNothing) {
  Write("bin/nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9\n");
  const ProgramResult result = RunReport();
  EXPECT_EQ(result.exit_code, 77);
  EXPECT_THAT(result.out, HasSubstr("There is no NVIDIA GPU that nvidia-smi can see here: nothing was measured."));
  EXPECT_FALSE(std::filesystem::exists(machine_.File("out/cuda.md")));
}

TEST_F(GpuReportTest, AStageThatFailsIsToldAndTheOthersGoOn) {
  Write("programs/gpu_tests", "echo 'image 3 differs'; exit 1\n");
  const ProgramResult result = RunReport();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("image 3 differs"));
  EXPECT_THAT(report(), AllOf(HasSubstr("| Tests | FAILED (1) |"), HasSubstr("| Marks | passed |"),
                              HasSubstr("| compute-sanitizer |")));
}

TEST_F(GpuReportTest, ImagesThatDifferInCompanyFail) {
  Write("programs/denoise",
        "out= count=; while (($#)); do case $1 in --out) out=$2 ;; --count) count=$2 ;; esac; shift; done\n"
        "if [[ $count ]]; then for ((i = 0; i < count; ++i)); do echo $i >${out%.png}-$i.png; done; exit; fi\n"
        "[[ -z $out ]] || echo other >$out\n");
  const ProgramResult result = RunReport();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("differ"));
  EXPECT_THAT(report(), HasSubstr("| A server | FAILED (1) |"));
}

TEST_F(GpuReportTest, AProgramThatIsMissingIsNamed) {
  std::filesystem::remove(machine_.File("programs/denoise"));
  const ProgramResult result = RunReport();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("programs has no denoise."));
}

}  // namespace
}  // namespace denoised
