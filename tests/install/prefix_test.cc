// An installation without sources and build.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/install/installation.h"
#include "tests/install/without_sources.h"

namespace denoised {
namespace {

using testing::HasSubstr;
using testing::Not;

class PrefixTest : public testing::Test {
 protected:
  // In an empty folder; $P is the prefix.
  ProgramResult WithoutSources(const std::string& script) const {
    return RunWithoutSources(script, {"P=" + installed_.prefix(), "XDG_CONFIG_HOME=" + folder_.path()}, folder_.path());
  }
  void SetUp() override {
    if (!CanHideSources()) GTEST_SKIP() << kCannotHide;
  }

  const Installation installed_;
  const TempFolder folder_;
};

// What the server maps and has open is told by the kernel. It inherits nothing of who runs the test, as ctest's log.
TEST_F(PrefixTest, ServerAndClientDraw) {
  const ProgramResult result = WithoutSources(R"sh(
for fd in /proc/$$/fd/*; do ((${fd##*/} <= 2)) || eval "exec ${fd##*/}>&-"; done
"$P/bin/denoised" --listen=127.0.0.1:0 --metrics_listen=off 2>log & server=$!
until grep -q 'listening on' log; do
  kill -0 "$server" || { cat log; exit 1; }
  sleep 0.05
done
address=$(sed -n 's/.*listening on //p' log)
"$P/bin/denoise" 7 --server="$address" --seed=42 --sampler=ddim --steps=10
"$P/bin/denoise" --model --server="$address"
echo "open: $(awk '$6 ~ "^/" {print $6}' "/proc/$server/maps" | sort -u | tr '\n' ' ')"
echo "open: $(readlink /proc/"$server"/fd/* | tr '\n' ' ')"
kill "$server" && wait "$server"
"$P/bin/denoised" --check --listen=127.0.0.1:0 --metrics_listen=off
)sh");
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("digit-7.png  256x256, seed 42, 10 steps"));
  EXPECT_THAT(result.out, HasSubstr("classes         0 1 2 3 4 5 6 7 8 9\n"));
  EXPECT_THAT(result.out, HasSubstr("open: " + installed_.File("bin/denoised")));
  EXPECT_THAT(result.out, Not(HasSubstr(DENOISED_SOURCE_DIR "/")));
  EXPECT_THAT(result.out, Not(HasSubstr(DENOISED_BUILD_DIR "/")));
  EXPECT_THAT(result.out, HasSubstr("\ncheckpoint     " + installed_.File("share/denoised/mnist.pt") + ": "));
}

TEST_F(PrefixTest, EveryProgramStarts) {
  for (const std::string program : kPrograms) {
    const ProgramResult help = WithoutSources(absl::StrCat("\"$P/bin/", program, "\" --help"));
    EXPECT_EQ(help.exit_code, 0) << help.err;
    EXPECT_THAT(help.out, HasSubstr(absl::StrCat("Usage: ", program))) << program;
    const ProgramResult linked = WithoutSources(absl::StrCat("ldd \"$P/bin/", program, "\""));
    EXPECT_EQ(linked.exit_code, 0) << linked.err;
    EXPECT_THAT(linked.out, Not(HasSubstr("not found"))) << program;
    EXPECT_THAT(linked.out, Not(HasSubstr(DENOISED_BUILD_DIR "/"))) << program;
  }
}

// Evaluation finds its judges and the checkpoint; what it lacks is data, and nothing else.
TEST_F(PrefixTest, EvaluationFindsItsJudges) {
  const ProgramResult result = WithoutSources("\"$P/bin/denoise-eval\" --data=nowhere --count=20");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("nowhere"));
  EXPECT_THAT(result.err, Not(HasSubstr("judges")));
}

// tests/examples builds that project, by an installation in the build tree; here CMake has what is in the prefix alone.
TEST_F(PrefixTest, OutsideProjectsFindTheClientLibrary) {
  std::filesystem::copy(DENOISED_SOURCE_DIR "/examples/cpp", folder_.File("cpp"));
  const ProgramResult result = WithoutSources(
      "'" DENOISED_CMAKE "' -S cpp -B build -D CMAKE_CXX_COMPILER='" DENOISED_CXX
      "' \"-DCMAKE_PREFIX_PATH=$P;" DENOISED_PREFIX_PATH "\" && grep '^denoised_DIR' build/CMakeCache.txt");
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("denoised_DIR:PATH=" + installed_.prefix()));
}

}  // namespace
}  // namespace denoised
