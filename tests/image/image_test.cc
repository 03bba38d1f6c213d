// The images of the Dockerfile as scripts/image.sh builds them without a daemon, run by in_image.sh: read-only, as a
// user without capabilities, as process 1, the server's within 256 MiB and one core where this machine lets such limits
// be set.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tests/end_to_end/served.h"
#include "tests/testing/mnist_folder.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr char kStore[] = DENOISED_SOURCE_DIR "/build/image/storage";
constexpr char kRun[] = DENOISED_SOURCE_DIR "/build/image/run";

ProgramResult Buildah(std::vector<std::string> arguments) {
  std::vector<std::string> command = {"/usr/bin/buildah", "--root", kStore, "--runroot", kRun};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return RunProgram(command);
}

std::string Line(const std::string& text) { return std::string(absl::StripSuffix(text, "\n")); }

// Control groups with the limits of a small container: version 1's, or 2's.
class SmallGroups {
 public:
  SmallGroups() {
    if (fs::exists("/sys/fs/cgroup/cgroup.controllers")) {
      Make("/sys/fs/cgroup", {{"memory.max", kBytes}, {"cpu.max", "100000 100000"}});
    } else {
      Make("/sys/fs/cgroup/memory", {{"memory.limit_in_bytes", kBytes}});
      Make("/sys/fs/cgroup/cpu", {{"cpu.cfs_period_us", "100000"}, {"cpu.cfs_quota_us", "100000"}});
    }
  }
  ~SmallGroups() {
    std::error_code ignored;
    for (const std::string& group : groups_) fs::remove(group, ignored);
  }
  SmallGroups(const SmallGroups&) = delete;
  SmallGroups& operator=(const SmallGroups&) = delete;

  bool limited() const { return limited_; }
  std::vector<std::string> groups() const { return limited_ ? groups_ : std::vector<std::string>(); }

 private:
  static constexpr char kBytes[] = "268435456";

  void Make(const std::string& parent, const std::vector<std::pair<std::string, std::string>>& limits) {
    const std::string group = absl::StrCat(parent, "/denoised-test-", getpid());
    std::error_code error;
    fs::create_directory(group, error);
    if (!error) groups_.push_back(group);
    for (const auto& [file, limit] : limits) {
      std::ofstream out(absl::StrCat(group, "/", file));
      out << limit << std::flush;
      limited_ = limited_ && out.good();
    }
  }

  bool limited_ = true;
  std::vector<std::string> groups_;
};

class ImageTest : public testing::Test {
 protected:
  explicit ImageTest(const std::string& target = "cpu") : target_(target) {}

  void SetUp() override {
    if (getuid() != 0 || !fs::exists("/usr/bin/buildah")) {
      GTEST_SKIP() << "there is no image: as root, scripts/setup.sh --image and then scripts/image.sh " << target_;
    }
    const ProgramResult container = Buildah({"from", image()});
    if (container.exit_code != 0) GTEST_SKIP() << "there is no image: scripts/image.sh " << target_ << " builds it";
    container_ = Line(container.out);
    root_ = Line(Buildah({"mount", container_}).out);
    const std::string revision = Config()["Labels"]["org.opencontainers.image.revision"];
    const ProgramResult head =
        RunProgram({"/usr/bin/git", "-C", DENOISED_SOURCE_DIR, "rev-parse", "--short=12", "HEAD"});
    if (head.exit_code == 0 && revision != Line(head.out)) {
      GTEST_SKIP() << "the image is of revision " << revision << ", not of this one: scripts/image.sh " << target_
                   << " builds it anew";
    }
  }
  void TearDown() override {
    if (container_.empty()) return;
    Buildah({"umount", container_});
    Buildah({"rm", container_});
  }

  std::string image() const { return absl::StrCat("localhost/denoised:", target_); }

  // `surroundings`: control groups and volumes.
  std::vector<std::string> Command(std::vector<std::string> command,
                                   const std::vector<std::string>& surroundings = {}) {
    std::vector<std::string> whole = {DENOISED_SOURCE_DIR "/tests/image/in_image.sh", root_};
    whole.insert(whole.end(), surroundings.begin(), surroundings.end());
    whole.push_back("--");
    whole.insert(whole.end(), command.begin(), command.end());
    return whole;
  }
  ProgramResult RunInside(std::vector<std::string> command) { return RunProgram(Command(std::move(command))); }

  nlohmann::json Config() {
    return nlohmann::json::parse(Buildah({"inspect", "--type", "image", image()}).out)["Docker"]["config"];
  }

  // What scanners and lawyers look for: each Debian package in the bill of materials and with its licence, and in that
  // of `package` what is compiled in.
  void ExpectListedWithLicences(const std::string& package) {
    const nlohmann::json bill = nlohmann::json::parse(Slurp(root_ + "/usr/share/denoised/sbom.cdx.json"));
    EXPECT_EQ(bill["bomFormat"], "CycloneDX");
    for (const nlohmann::json& component : bill["components"]) {
      const std::string name = component["name"];
      EXPECT_NE(component["version"], "") << name;
      listed_.insert(absl::StrCat(name, " ", component["version"].get<std::string>()));
      names_.insert(name);
    }
    const ProgramResult installed = RunInside({"/usr/bin/dpkg-query", "-W", "-f=${Package} ${Version}\n"});
    int packages = 0;
    for (const absl::string_view line : absl::StrSplit(installed.out, '\n', absl::SkipEmpty())) {
      EXPECT_TRUE(listed_.contains(std::string(line))) << line;
      const std::string name(line.substr(0, line.find(' ')));
      EXPECT_TRUE(fs::exists(absl::StrCat(root_, "/usr/share/doc/", name, "/copyright"))) << name;
      ++packages;
    }
    EXPECT_GT(packages, 50);
    EXPECT_THAT(Slurp(absl::StrCat(root_, "/usr/share/doc/", package, "/copyright")),
                testing::AllOf(HasSubstr("MIT License"), HasSubstr("libcli11-dev, whose headers are compiled in")));
  }

  const std::string target_;
  std::string container_, root_;
  std::set<std::string> names_, listed_;  // of components, without versions and with them
};

class TrainerImageTest : public ImageTest {
 protected:
  TrainerImageTest() : ImageTest("trainer") {}
};

// What a file in an image belongs to.
std::string PartOf(const std::string& path) {
  if (absl::EndsWith(path, ".pt")) return "checkpoints";
  if (absl::StrContains(path, "denoise")) return "this project";
  if (absl::StartsWith(path, "/usr/share/doc/")) return "licences";
  if (absl::StartsWith(path, "/usr/lib/") && absl::StrContains(path, ".so")) return "libraries";
  return "the rest of a Debian";
}

// in_image.sh's own child is process 1 in there.
pid_t ChildOf(pid_t parent) {
  std::ifstream children(absl::StrCat("/proc/", parent, "/task/", parent, "/children"));
  pid_t child = 0;
  children >> child;
  return child;
}

TEST_F(ImageTest, ServesDrawsAndDrainsWithinASmallContainer) {
  const SmallGroups small;
  if (!small.limited()) std::puts("no limits can be set here: it runs without");
  BackgroundProgram server(
      Command({"/usr/bin/denoised", "--listen=127.0.0.1:0", "--metrics_listen=off", "--lame_duck=0"}, small.groups()));
  const std::string address = server.AwaitLine("listening on ");
  EXPECT_TRUE(!small.limited() ||
              absl::StrContains(server.err(), "threads on a CPU: 1, as this process has 1 core, by the CPU quota"))
      << server.err();
  EXPECT_EQ(RunInside({"/usr/bin/denoised", "--healthcheck", "--listen", address}).exit_code, 0);
  const ProgramResult inside = RunInside({"/usr/bin/denoise", "7", "--seed=42", "--server", address, "--out", "-"});
  EXPECT_EQ(inside.exit_code, 0) << inside.err;
  EXPECT_TRUE(absl::StartsWith(inside.out, "\x89PNG")) << inside.err;
  EXPECT_EQ(RunProgram({"denoise", "7", "--seed=42", "--server", address, "--out", "-"}).out, inside.out);
  kill(ChildOf(server.pid()), SIGTERM);
  EXPECT_EQ(server.Wait(), 0) << server.err();
  EXPECT_THAT(server.err(), HasSubstr("stopped; every request was finished"));
}

// Told, not judged: how much of the image is what, and how long the server takes to listen.
TEST_F(ImageTest, TellsItsSizeByPartAndItsStart) {
  std::map<std::string, uintmax_t> bytes;
  for (const auto& entry : fs::recursive_directory_iterator(root_)) {
    if (!entry.is_regular_file() || entry.is_symlink()) continue;
    const std::string path = entry.path().string().substr(root_.size());
    bytes[PartOf(path)] += entry.file_size();
  }
  uintmax_t whole = 0;
  for (const auto& [part, size] : bytes) {
    EXPECT_GT(size, 0u) << part;
    std::printf("%8.1f MB  %s\n", static_cast<double>(size) / 1e6, part.c_str());
    whole += size;
  }
  EXPECT_TRUE(bytes.contains("this project") && bytes.contains("checkpoints") && bytes.contains("libraries"));
  std::printf("%8.1f MB  together\n", static_cast<double>(whole) / 1e6);

  const auto begin = std::chrono::steady_clock::now();
  BackgroundProgram server(
      Command({"/usr/bin/denoised", "--listen=127.0.0.1:0", "--metrics_listen=off", "--lame_duck=0"}));
  server.AwaitLine("listening on ");
  const std::chrono::duration<double> start = std::chrono::steady_clock::now() - begin;
  std::printf("%8.1f s   to listening\n", start.count());
}

TEST_F(ImageTest, NoTestLeavesAServerBehind) {
  BackgroundProgram server(
      Command({"/usr/bin/denoised", "--listen=127.0.0.1:0", "--metrics_listen=off", "--lame_duck=0"}));
  server.AwaitLine("listening on ");
  const pid_t inside = ChildOf(server.pid());
  ASSERT_GT(inside, 0);
  server.Signal(SIGKILL);
  // Until it is gone, or waits to be buried; or the test's time limit.
  while (!Slurp(absl::StrCat("/proc/", inside, "/cmdline")).empty()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

// The build without LibTorch and OpenCV and the whole one, by whose programs the other tests run.
TEST_F(ImageTest, DrawsTheBytesOfTheWholeBuild) {
  BackgroundProgram server(
      Command({"/usr/bin/denoised", "--listen=127.0.0.1:0", "--metrics_listen=off", "--lame_duck=0"}));
  const std::string address = server.AwaitLine("listening on ");
  const Served whole;
  const std::vector<std::vector<std::string>> requests = {
      {"7", "--seed=42"},
      {"3", "--seed=5", "--sampler=ddim", "--steps=20", "--guidance_scale=2", "--size=100", "--interpolation=lanczos"},
      {"0", "--seed=6", "--sampler=dpm_solver_pp_2m", "--size=32"}};
  for (std::vector<std::string> request : requests) {
    request.insert(request.begin(), "denoise");
    request.insert(request.end(), {"--out", "-", "--server", address});
    const ProgramResult image = RunProgram(request);
    request.back() = whole.address();
    ASSERT_EQ(image.exit_code, 0) << image.err;
    EXPECT_TRUE(image.out == RunProgram(request).out) << request[1];
  }
}

TEST_F(ImageTest, TellsItsRevisionAndHowToAskForItsHealth) {
  const nlohmann::json config = Config();
  EXPECT_EQ(config["User"], "10001");
  EXPECT_EQ(config["Entrypoint"], nlohmann::json({"/usr/bin/denoised"}));
  EXPECT_EQ(config["Healthcheck"]["Test"], nlohmann::json({"CMD", "/usr/bin/denoised", "--healthcheck"}));
  EXPECT_EQ(config["StopSignal"], "SIGTERM");
  const std::string revision = config["Labels"]["org.opencontainers.image.revision"];
  EXPECT_THAT(RunInside({"/usr/bin/denoised", "--version"}).out, HasSubstr(revision));
}

TEST_F(ImageTest, NothingIsInItThatServingDoesNotNeed) {
  const std::string programs = RunInside({"/usr/bin/dpkg-query", "-W", "-f=${Package}\n"}).out;
  for (const char* absent : {"libtorch", "libopencv", "g++", "libavcodec", "libgdal"}) {
    EXPECT_THAT(programs, testing::Not(HasSubstr(absent)));
  }
}

TEST_F(ImageTest, ListsAllThatIsInsideWithLicences) {
  ExpectListedWithLicences("denoised");
  EXPECT_THAT(names_, testing::IsSupersetOf({"denoised", "mnist.pt"}));
  EXPECT_FALSE(names_.contains("denoise-train"));
}

TEST_F(ImageTest, FailsInWords) {
  const ProgramResult result = RunInside({"/usr/bin/denoised", "--checkpoint=/nowhere.pt"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("cannot load the checkpoint: cannot open /nowhere.pt: No such file or directory"));
  EXPECT_THAT(RunInside({"/usr/bin/denoise", "bench", "--server=127.0.0.1:1", "--out=/tmp/x.json"}).err,
              HasSubstr("denoise: error: "));
}

// Debian's packages are what the image is made of: removed again, they leave nothing.
TEST_F(ImageTest, PackagesLeaveNothingBehind) {
  const ProgramResult purged = Buildah({"run", "--isolation", "chroot", "--user", "0", container_, "--", "dpkg",
                                        "--purge", "denoised", "denoised-client"});
  EXPECT_EQ(purged.exit_code, 0) << purged.err;
  std::vector<std::string> left;
  for (const char* folder : {"/usr/bin", "/usr/share", "/usr/lib/systemd", "/etc"}) {
    for (const auto& entry :
         fs::recursive_directory_iterator(root_ + folder, fs::directory_options::skip_permission_denied)) {
      const std::string path = entry.path().string().substr(root_.size());
      if (absl::StrContains(path, "denoise")) left.push_back(path);
    }
  }
  // The list of the image's contents is the image's own.
  EXPECT_THAT(left, testing::UnorderedElementsAre("/usr/share/denoised", "/usr/share/denoised/sbom.cdx.json"));
}

// As the Job of deploy/kubernetes/training/job runs it: two volumes, and nothing else to write to but /tmp.
TEST_F(TrainerImageTest, LearnsAStepThatCanBeResumedAndServed) {
  const TempFolder run, scratch;
  for (const TempFolder* folder : {&run, &scratch}) ASSERT_EQ(chown(folder->path().c_str(), 10001, 10001), 0);
  for (const char* place : {"/data", "/run/denoised"}) fs::create_directories(root_ + place);
  std::vector<std::string> learn = {"/usr/bin/denoise-train", "--data=/data",       "--out=/run/denoised",
                                    "--noverify_data",        "--channels=8,16,16", "--batch_size=16",
                                    "--max_steps=1"};
  const std::vector<std::string> volumes = {SmallMnistFolder() + ":/data", run.path() + ":/run/denoised",
                                            scratch.path() + ":/tmp"};
  const ProgramResult first = RunProgram(Command(learn, volumes));
  ASSERT_EQ(first.exit_code, 0) << first.err;
  learn.push_back("--resume");
  const ProgramResult again = RunProgram(Command(learn, volumes));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  const Served served({"--checkpoint", run.File("best.pt")});
  const ProgramResult drawn =
      RunProgram({"denoise", "7", "--steps=2", "--sampler=ddim", "--server", served.address(), "--out", "-"});
  EXPECT_TRUE(absl::StartsWith(drawn.out, "\x89PNG")) << drawn.err;
}

TEST_F(TrainerImageTest, HasTheTrainerAloneAndTellsItsRevision) {
  const nlohmann::json config = Config();
  EXPECT_EQ(config["User"], "10001");
  EXPECT_EQ(config["Entrypoint"], nlohmann::json({"/usr/bin/denoise-train"}));
  EXPECT_FALSE(config.contains("Healthcheck"));
  EXPECT_EQ(config["Labels"]["org.opencontainers.image.title"], "denoised-trainer");
  EXPECT_EQ(config["Labels"]["org.opencontainers.image.licenses"], "MIT");
  const std::string revision = config["Labels"]["org.opencontainers.image.revision"];
  EXPECT_THAT(RunInside({"/usr/bin/denoise-train", "--version"}).out, HasSubstr(revision));
  EXPECT_TRUE(fs::exists(root_ + "/usr/bin/denoise-eval"));
  EXPECT_FALSE(fs::exists(root_ + "/usr/bin/denoised"));
  EXPECT_FALSE(fs::exists(root_ + "/usr/bin/g++"));
}

TEST_F(TrainerImageTest, ListsAllThatIsInsideWithLicences) {
  ExpectListedWithLicences("denoised-trainer");
  EXPECT_THAT(names_, testing::IsSupersetOf({"denoise-train", "lenet5.pt", "convnet.pt"}));
  EXPECT_FALSE(names_.contains("denoised"));
}

}  // namespace
}  // namespace denoised
