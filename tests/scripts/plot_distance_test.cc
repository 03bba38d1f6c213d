// scripts/plot_distance.py, whose plot needs matplotlib.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/support/file.h"
#include "tests/testing/program.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using Json = nlohmann::json;

constexpr char kPython[] = "/usr/bin/python3";
constexpr char kScript[] = DENOISED_SOURCE_DIR "/scripts/plot_distance.py";

class PlotDistanceTest : public testing::Test {
 protected:
  PlotDistanceTest() {
    folder_.Write("figures.json", R"({"ours": [], "others": [
        {"name": "another's", "gflop": 21, "distance": 6, "floor": 0.5, "source": "a test"}]})");
  }

  ProgramResult Run(const std::vector<std::string>& arguments,
                    const std::vector<std::string>& python = {kPython}) const {
    std::vector<std::string> all = python;
    all.insert(all.end(), {kScript, "--figures", folder_.File("figures.json"), "--out", folder_.File("distance.png")});
    all.insert(all.end(), arguments.begin(), arguments.end());
    return RunProgram(all);
  }
  std::string Seeds(const std::string& name, int steps, double guidance_scale, double ratio) const {
    const Json run = {{"steps", steps},
                      {"seeds", {1, 2, 3}},
                      {"count", 500},
                      {"guidance_scale", guidance_scale},
                      {"reference", "held_out"},
                      {"checkpoint_sha256", "ab"},
                      {"figures", {{"times_floor", {{"mean", ratio}, {"standard_deviation", 0.25}}}}}};
    return folder_.Write(name, run.dump());
  }
  Json Ours() const { return Json::parse(*ReadFile(folder_.File("figures.json"), 1 << 20))["ours"]; }

  const TempFolder folder_;
};

TEST_F(PlotDistanceTest, KeepsFiguresInThePlaceOfEarlierOnes) {
  const ProgramResult first = Run({"--add", "one", Seeds("a", 20, 1, 3), Seeds("b", 5, 1.5, 7)});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  ASSERT_EQ(Run({"--add", "one", Seeds("c", 20, 1, 2)}).exit_code, 0);
  const Json ours = Ours();
  ASSERT_EQ(ours.size(), 2u);
  EXPECT_EQ(ours[0]["steps"], 5);
  EXPECT_EQ(ours[0]["gflop"], 0.899) << "guided: two calls a step";
  EXPECT_EQ(ours[1]["gflop"], 1.798);
  EXPECT_EQ(ours[1]["times_floor"], 2.0);
  EXPECT_EQ(ours[1]["standard_deviation"], 0.25);
  EXPECT_EQ(ours[1]["seeds"], 3);
}

TEST_F(PlotDistanceTest, DrawsAPng) {
  if (RunProgram({kPython, "-c", "import matplotlib"}).exit_code != 0) {
    GTEST_SKIP() << "there is no matplotlib; scripts/setup.sh --tests installs it";
  }
  ASSERT_EQ(Run({"--add", "one", Seeds("a", 20, 1, 3), Seeds("b", 5, 1, 7)}).exit_code, 0);
  const ProgramResult result = Run({});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(*ReadFile(folder_.File("distance.png"), 1 << 20), testing::StartsWith("\x89PNG"));
}

TEST_F(PlotDistanceTest, WhatIsWrongIsSaid) {
  EXPECT_EQ(Run({}, {kPython, "-I", "-S"}).err,
            "No module named 'matplotlib'. Install matplotlib: python3-matplotlib of Debian, or from PyPI.\n");
  const std::string other = folder_.Write("other.json", "{}");
  EXPECT_EQ(Run({"--add", "one", other}).err,
            absl::StrCat(other, " is no seeds.json of denoise-eval; denoise-eval --seeds 3 writes one\n"));
  EXPECT_THAT(Run({"--add", "one", folder_.File("none.json")}).err,
              testing::StartsWith(absl::StrCat("cannot read ", folder_.File("none.json"), ": ")));
  EXPECT_THAT(Run({"--add", "one"}).err, testing::HasSubstr("--add LINE and the files of its points belong together"));
  EXPECT_TRUE(Ours().empty());
}

}  // namespace
}  // namespace denoised
