// denoised serves the shipped checkpoint, denoise draws with it: processes, sockets and files as a user has them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <numeric>
#include <optional>

#include "common/image/image.h"
#include "common/image/png.h"
#include "tests/end_to_end/served.h"
#include "tests/testing/free_port.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kModel[] = DENOISED_SOURCE_DIR "/models/mnist.pt";

class EndToEndTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { served_ = new Served(); }
  static void TearDownTestSuite() {
    delete served_;
    served_ = nullptr;
  }

  std::vector<std::string> Command(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"denoise", "--server", served_->address()});
    return arguments;
  }
  ProgramResult Denoise(const std::vector<std::string>& arguments) const {
    return RunProgram(Command(arguments), {}, folder_.path());
  }
  // A digit's PNG by seed, in few steps.
  std::vector<std::string> Draw(int digit, uint64_t seed, const std::string& out) const {
    return {std::to_string(digit), "--seed", std::to_string(seed), "--steps", "60", "--size", "64", "--out", out};
  }

  static Served* served_;
  TempFolder folder_;
};

Served* EndToEndTest::served_ = nullptr;

TEST_F(EndToEndTest, DrawsADigitByTheWholeChain) {
  const ProgramResult result = Denoise({"7", "--seed", "42"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, testing::StartsWith("digit-7.png  256x256, seed 42, 1000 steps in "));
  const absl::StatusOr<GreyImage> image = DecodePng(Slurp(folder_.File("digit-7.png")));
  ASSERT_TRUE(image.ok());
  EXPECT_EQ(image->width, 256);
  // A digit is mostly black, with some white ink, and black at the edge: noise or a blank is none of these.
  const auto bright = std::count_if(image->pixels.begin(), image->pixels.end(), [](uint8_t p) { return p > 200; });
  const auto dark = std::count_if(image->pixels.begin(), image->pixels.end(), [](uint8_t p) { return p < 30; });
  const double pixels = static_cast<double>(image->pixels.size());
  EXPECT_GT(static_cast<double>(bright) / pixels, 0.02);
  EXPECT_LT(static_cast<double>(bright) / pixels, 0.35);
  EXPECT_GT(static_cast<double>(dark) / pixels, 0.5);
  EXPECT_LT(std::accumulate(image->pixels.begin(), image->pixels.begin() + 256, 0) / 256, 10);
}

TEST_F(EndToEndTest, ConcurrentRequestsGiveTheSameBytesAsAlone) {
  constexpr int kRequests = 8;
  std::vector<std::string> alone;
  for (int i = 0; i < kRequests; ++i) {
    const ProgramResult result = Denoise(Draw(i, 100 + i, "alone.png"));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    alone.push_back(Slurp(folder_.File("alone.png")));
  }
  std::vector<std::unique_ptr<BackgroundProgram>> clients;
  for (int i = 0; i < kRequests; ++i) {
    clients.push_back(
        std::make_unique<BackgroundProgram>(Command(Draw(i, 100 + i, "together-" + std::to_string(i) + ".png")),
                                            std::vector<std::string>(), folder_.path()));
  }
  for (int i = 0; i < kRequests; ++i) {
    EXPECT_EQ(clients[i]->Wait(), 0) << clients[i]->err();
    EXPECT_TRUE(Slurp(folder_.File("together-" + std::to_string(i) + ".png")) == alone[i]) << "digit " << i;
    for (int j = 0; j < i; ++j) EXPECT_FALSE(alone[i] == alone[j]) << i << " " << j;
  }
}

TEST_F(EndToEndTest, OneImageOfASeedAloneHasTheBytesItHadAmongOthers) {
  const std::vector<std::string> draw = {"7", "--seed=42", "--sampler=dpm_solver_pp_2m", "--size=32"};
  std::vector<std::string> several = draw, one = draw;
  several.push_back("--count=4");
  one.push_back("--index=2");
  one.push_back("--out=one.png");
  ASSERT_EQ(Denoise(several).exit_code, 0);
  ASSERT_EQ(Denoise(one).exit_code, 0);
  EXPECT_TRUE(Slurp(folder_.File("digit-7-2.png")) == Slurp(folder_.File("one.png")));
  EXPECT_FALSE(Slurp(folder_.File("digit-7-0.png")) == Slurp(folder_.File("one.png")));
}

TEST_F(EndToEndTest, GridDrawsAllTen) {
  const ProgramResult result =
      Denoise({"--grid", "--sampler", "dpm_solver_pp_2m", "--size", "32", "--picture", "always"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(DecodePng(Slurp(folder_.File("grid.png")))->width, 184);
}

TEST_F(EndToEndTest, PreviewsGoFromNoiseToTheImage) {
  const ProgramResult result =
      Denoise({"3", "--sampler", "ddim", "--size", "32", "--previews_dir", "frames", "--preview_every", "10"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(Slurp(folder_.File("frames/digit-3-step-0050.png")) == Slurp(folder_.File("digit-3.png")));
  EXPECT_FALSE(Slurp(folder_.File("frames/digit-3-step-0010.png")) == Slurp(folder_.File("digit-3.png")));
}

TEST_F(EndToEndTest, BadRequestsNameTheFlag) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"10"}, "--digit: must be 0 to 9, got 10"},
      {{"-1"}, "--digit: must be 0 to 9, got -1"},
      {{"7", "--size=31"}, "--size: must be 32 to 1024 pixels, got 31"},
      {{"7", "--size=100000"}, "--size: must be 32 to 1024 pixels, got 100000"},
  };
  for (const auto& [arguments, message] : cases) {
    const ProgramResult result = Denoise(arguments);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.err, "denoise: error: " + message + "\n");
  }
}

TEST_F(EndToEndTest, NamesOfNoClassAreRefusedWithThoseThereAre) {
  const ProgramResult result = Denoise({"seven"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.err,
            "denoise: error: --digit: must be one of \"0\", \"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\" and "
            "\"9\", got \"seven\"\n");
}

TEST_F(EndToEndTest, ModelIsTheShippedOne) {
  const ProgramResult result = Denoise({"--model"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("architecture    compact, "));
  EXPECT_THAT(result.out, HasSubstr("guidance        yes"));
  EXPECT_THAT(result.out, testing::ContainsRegex("engine          (oneDNN|LibTorch) in (bf16|fp32) on [0-9]+ threads"));
}

// Of a data set, each image can be drawn again alone, as the manifest says.
TEST_F(EndToEndTest, DatasetHoldsTheDigitsThatItsManifestNames) {
  const TempFolder folder;
  const ProgramResult result = RunProgram({"denoise", "dataset", "--server", served_->address(), "--out=set",
                                           "--per_digit=3", "--seed=100", "--sampler=dpm_solver_pp_2m"},
                                          {}, folder.path());
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string images = Slurp(folder.File("set/train-images-idx3-ubyte"));
  ASSERT_EQ(images.size(), size_t{16} + size_t{30} * kModelPixels);
  const ProgramResult one =
      RunProgram({"denoise", "7", "--server", served_->address(), "--index=2", "--seed=107",
                  "--sampler=dpm_solver_pp_2m", "--size=32", "--out=seven.png", "--picture=never"},
                 {}, folder.path());
  ASSERT_EQ(one.exit_code, 0) << one.err;
  const absl::StatusOr<GreyImage> seven = DecodePng(Slurp(folder.File("seven.png")));
  ASSERT_TRUE(seven.ok());
  EXPECT_EQ(images.substr(16 + size_t{27} * kModelPixels, kModelPixels),
            std::string(seven->pixels.begin(), seven->pixels.end()));
}

TEST_F(EndToEndTest, OccupiedPortIsSaid) {
  const ProgramResult result = RunProgram({"denoised", "--listen", served_->address(), "--metrics_listen=off"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, EndsWith("denoised: error: cannot listen on " + served_->address() +
                                   ": the port is taken, or the address is not this machine's (Address already in "
                                   "use); choose another with --listen\n"));
}

// 27 places: nine of the ten calls are admitted at once, the tenth is told when to come back and does.
TEST(DenoisedTest, GridThatIsLargerThanTheQueueIsDrawn) {
  const Served served({"--max_batch_rows=4", "--max_queued_images=23"});
  const TempFolder folder;
  const ProgramResult result = RunProgram({"denoise", "--server", served.address(), "--grid", "--per_digit=3",
                                           "--sampler=dpm_solver_pp_2m", "--size=32", "--picture=never"},
                                          {}, folder.path());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(std::filesystem::exists(folder.File("grid.png")));
}

// Reported: the README's first block, pasted whole, failed, as the server was still starting.
TEST(DenoisedTest, ClientThatIsStartedWithTheServerWaitsForIt) {
  const std::string address = "127.0.0.1:" + std::to_string(FreePort());
  const TempFolder folder;
  BackgroundProgram server({"denoised", "--checkpoint", kModel, "--listen", address, "--metrics_listen=off"});
  const ProgramResult result =
      RunProgram({"denoise", "7", "--server", address, "--wait=600", "--sampler=dpm_solver_pp_2m", "--size=32"}, {},
                 folder.path());
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

TEST(DenoisedTest, SigtermFinishesWhatRunsAndThenStops) {
  Served served;
  const TempFolder folder;
  BackgroundProgram client(
      {"denoise", "7", "--server", served.address(), "--previews_dir", "frames", "--preview_every", "50", "--size=32"},
      {}, folder.path());
  while (!std::filesystem::exists(folder.File("frames/digit-7-step-0050.png"))) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  served.server().Signal(SIGTERM);
  EXPECT_EQ(client.Wait(), 0) << client.err();
  EXPECT_EQ(served.server().Wait(), 0);
  EXPECT_THAT(served.server().err(), HasSubstr("stopped; every request was finished"));
}

TEST(DenoisedTest, UnusableCheckpointsAreSaid) {
  const TempFolder folder;
  const std::string model = Slurp(kModel);
  const std::string truncated = folder.Write("truncated.pt", model.substr(0, model.size() / 2));
  const std::string empty = folder.Write("empty.pt", "");
  const std::string text = folder.Write("text.pt", "hello");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"/nowhere/m.pt", "/nowhere/m.pt"},
      {truncated, truncated + " is a damaged or truncated archive"},
      {empty, empty + " is empty; copy it again"},
      {text, text + " is not a TorchScript archive"},
      {folder.path(), folder.path() + " is a folder, not a file"},
  };
  for (const auto& [path, message] : cases) {
    const ProgramResult result =
        RunProgram({"denoised", "--checkpoint", path, "--listen=127.0.0.1:0", "--metrics_listen=off"});
    EXPECT_EQ(result.exit_code, 1) << path;
    EXPECT_THAT(result.err, HasSubstr("denoised: error: "));
    EXPECT_THAT(result.err, HasSubstr(message));
  }
}

TEST(DenoisedTest, AbsentDeviceIsSaid) {
  const ProgramResult result =
      RunProgram({"denoised", "--device=cuda:77", "--listen=127.0.0.1:0", "--metrics_listen=off"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("denoised: error: --device=cuda:77: "));
}

// The variable makes oneDNN take any processor for one without bfloat16 instructions.
TEST(DenoisedTest, PrecisionThatTheProcessorLacksIsSaid) {
  const ProgramResult result =
      RunProgram({"denoised", "--device=cpu", "--precision=bf16", "--listen=127.0.0.1:0", "--metrics_listen=off"},
                 {"DNNL_MAX_CPU_ISA=AVX2"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("--precision=bf16: this processor has no bfloat16 instructions (AVX512_BF16), or "
                                    "this build has no oneDNN that uses them; use auto or fp32"));
}

TEST(DenoisedTest, FlagsAreAlsoEnvironmentVariables) {
  const ProgramResult result = RunProgram({"denoised", "--listen=127.0.0.1:0", "--metrics_listen=off"},
                                          {"DENOISED_CHECKPOINT=/from/the/environment.pt"});
  EXPECT_THAT(result.err, HasSubstr("/from/the/environment.pt"));
}

// systemd's end of a unit of Type=notify, and a server that it starts.
class NotifyTest : public testing::Test {
 protected:
  NotifyTest() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(bind(manager_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  ~NotifyTest() override { close(manager_); }

  void Start(const std::vector<std::string>& flags, std::vector<std::string> environment = {}) {
    std::vector<std::string> command = {"denoised", "--checkpoint", kModel, "--listen=127.0.0.1:0",
                                        "--metrics_listen=off"};
    command.insert(command.end(), flags.begin(), flags.end());
    environment.push_back("NOTIFY_SOCKET=" + path_);
    server_.emplace(command, environment);
  }
  // What the server says next. Waits, or for so long, and is then "nothing".
  std::string Receive(std::chrono::seconds patience = {}) const {
    const timeval limit = {.tv_sec = patience.count(), .tv_usec = 0};
    setsockopt(manager_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    std::array<char, 100> bytes{};
    const ssize_t size = recv(manager_, bytes.data(), bytes.size(), 0);
    return size < 0 ? "nothing" : std::string(bytes.data(), static_cast<size_t>(size));
  }
  void Await(const std::string& state) const {
    while (Receive() != state) continue;
  }

  const TempFolder folder_;
  const std::string path_ = folder_.File("notify");
  const int manager_ = socket(AF_UNIX, SOCK_DGRAM, 0);
  std::optional<BackgroundProgram> server_;
};

// systemd hears nothing before health says SERVING.
TEST_F(NotifyTest, SystemdHearsWhenItIsReadyAndWhenItStops) {
  Start({"--lame_duck=0"});
  EXPECT_EQ(Receive(), "READY=1");
  server_->Signal(SIGTERM);
  EXPECT_EQ(Receive(), "STOPPING=1");
  EXPECT_EQ(server_->Wait(), 0);
}

// During a stop too, which may take longer than the watchdog's time.
TEST_F(NotifyTest, WatchdogHearsThatItLivesUntilTheEndOfAStop) {
  Start({"--lame_duck=3"}, {"WATCHDOG_USEC=4000000"});
  Await("READY=1");
  Await("WATCHDOG=1");
  server_->Signal(SIGTERM);
  Await("STOPPING=1");
  Await("WATCHDOG=1");
  EXPECT_EQ(server_->Wait(), 0);
}

// What is tried is that there is an end of it: silence for as long as systemd would wait.
TEST_F(NotifyTest, WatchdogHearsNothingOfAServerWhoseStepHangs) {
  Start({"--inject_fault=hang@20", "--stall_timeout=0"}, {"WATCHDOG_USEC=4000000"});
  Await("READY=1");  // NOTE: at once, as a socket that nobody reads takes few messages
  const std::string address = server_->AwaitLine("listening on ");
  const BackgroundProgram drawing({"denoise", "7", "--server", address, "--picture=never"});
  while (Receive(std::chrono::seconds(4)) != "nothing") continue;
  EXPECT_FALSE(server_->Ended());
}

TEST(DenoisedTest, HeaderThatNamesClientsMustBeAName) {
  for (const char* header : {"grpc-client", "client-bin", "a client"}) {
    const ProgramResult result = RunProgram({"denoised", "--client_header", header});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, HasSubstr("--client_header: must be a name of metadata"));
  }
}

// A token would be in the log as its client's name.
TEST(DenoisedTest, HeaderThatNamesClientsIsForThatAlone) {
  for (const char* header : {"Authorization", "te", "x-request-id", "traceparent"}) {
    const ProgramResult result = RunProgram({"denoised", "--client_header", header});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, HasSubstr("--client_header: must be a header for that alone, got "));
  }
}

TEST(DenoisedTest, HealthcheckAsksTheServerThatTheSameFlagsStart) {
  const Served served;
  const ProgramResult well = RunProgram({"denoised", "--healthcheck", "--listen", served.address()});
  EXPECT_EQ(well.exit_code, 0) << well.err;
  EXPECT_EQ(well.out, "serving\n");
  const ProgramResult nobody = RunProgram({"denoised", "--healthcheck", "--listen=127.0.0.1:1"});
  EXPECT_EQ(nobody.exit_code, 1);
  EXPECT_THAT(nobody.err, HasSubstr("denoised: error: the server at 127.0.0.1:1 does not answer: "));
}

TEST(DenoisedTest, CheckSaysWhatWouldBeServedAndEnds) {
  const ProgramResult result = RunProgram({"denoised", "--check", "--listen=127.0.0.1:0", "--metrics_listen=off"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("gRPC           127.0.0.1:0\n"));
  EXPECT_THAT(result.out, HasSubstr("a full queue   "));
}

// Reported: what could not be printed was lost, and the exit status was 0.
TEST(DenoisedTest, WhatCannotBePrintedIsAnError) {
  for (const std::string arguments :
       {"--check --listen=127.0.0.1:0 --metrics_listen=off", "--help", "--version", "--print_manual"}) {
    const ProgramResult result =
        RunProgram({"/bin/sh", "-c", "exec " DENOISED_BIN_DIR "/denoised " + arguments + " >/dev/full"});
    EXPECT_EQ(result.exit_code, 1) << arguments;
    EXPECT_THAT(result.err, testing::EndsWith("denoised: error: cannot write to standard output: No space left on "
                                              "device\n"))
        << arguments;
  }
}

// Reported: a mistyped variable was passed over; then --check told of it in the log alone, where whoever reads the
// report does not look. Those that Kubernetes makes for a service "denoised" are none.
TEST(DenoisedTest, UnknownVariablesAreToldOf) {
  const std::vector<std::string> variables = {"DENOISED_MAX_BATCH_ROW=8", "DENOISED_SERVICE_HOST=10.0.0.1",
                                              "DENOISED_PORT=tcp://10.0.0.1:50051", "DENOISED_THREADS=1024"};
  const ProgramResult result =
      RunProgram({"denoised", "--check", "--listen=127.0.0.1:0", "--metrics_listen=off"}, variables);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\nwarning        DENOISED_MAX_BATCH_ROW is no setting of denoised; did you mean "
                                    "DENOISED_MAX_BATCH_ROWS?\n"));
  EXPECT_THAT(result.out, HasSubstr("\nwarning        DENOISED_THREADS=1024 is more than this process has cores"));
  EXPECT_THAT(result.err, testing::Not(HasSubstr("DENOISED_MAX_BATCH_ROW"))) << "told once";
  EXPECT_THAT(result.out, testing::Not(HasSubstr("DENOISED_SERVICE_HOST")));
  EXPECT_THAT(result.out, testing::Not(HasSubstr("DENOISED_PORT ")));
  const ProgramResult refused = RunProgram({"denoised", "--check", "--max_batch_rows=1"}, variables);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("DENOISED_MAX_BATCH_ROW is no setting of denoised"));
  EXPECT_THAT(RunProgram({"denoised", "--max_batch_rows=1"}, variables).err,
              HasSubstr("DENOISED_MAX_BATCH_ROW is no setting of denoised"));
}

// Reported: what only the server finds wrong was blamed on a flag that nobody had typed.
TEST(DenoisedTest, ErrorsNameTheVariableThatSetTheValue) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"LISTEN=x", "DENOISED_LISTEN must be an address and a port"},
      {"METRICS_LISTEN=x", "DENOISED_METRICS_LISTEN must be an address and a port"},
      {"HTTP_LISTEN=x", "DENOISED_HTTP_LISTEN must be an address and a port"},
      {"MAX_BATCH_ROWS=1", "DENOISED_MAX_BATCH_ROWS must be at least 2"},
      {"TLS_CERT=x", "DENOISED_TLS_CERT and --tls_key belong together"},
      {"TLS_KEY=x", "--tls_cert and DENOISED_TLS_KEY belong together"},
      {"TLS_CLIENT_CA=x", "DENOISED_TLS_CLIENT_CA needs --tls_cert and --tls_key"},
      {"TOKENS=nowhere", "DENOISED_TOKENS: cannot open nowhere"},
      {"OTLP_ENDPOINT=x", "DENOISED_OTLP_ENDPOINT must be the host and port"},
      {"DEVICE=gpu", "DENOISED_DEVICE must be auto, cpu"},
      {"PRECISION=fp16", "DENOISED_PRECISION=fp16 is for CUDA"},
  };
  for (const auto& [variable, message] : cases) {
    const std::vector<std::string> environment = {"DENOISED_LISTEN=127.0.0.1:0", "DENOISED_METRICS_LISTEN=off",
                                                  "DENOISED_" + variable};
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"denoised", "--check"}, std::vector<std::string>{"denoised"}}) {
      const ProgramResult result = RunProgram(command, environment);
      EXPECT_THAT(result.err, HasSubstr("denoised: error: " + message)) << variable;
      EXPECT_NE(result.exit_code, 0) << variable;
    }
  }
  EXPECT_THAT(RunProgram({"denoised", "--healthcheck"}, {"DENOISED_LISTEN=x"}).err,
              StartsWith("denoised: error: DENOISED_LISTEN must be"));
  EXPECT_THAT(RunProgram({"denoised", "--healthcheck"}, {"DENOISED_LISTEN=127.0.0.1:0"}).err,
              StartsWith("denoised: error: DENOISED_LISTEN: --healthcheck needs one with a port of its own"));
  EXPECT_THAT(RunProgram({"denoised", "--check", "--max_batch_rows=1"}, {"DENOISED_MAX_BATCH_ROWS=1"}).err,
              StartsWith("denoised: error: --max_batch_rows must be at least 2"))
      << "the flag wins, and is at fault";
}

TEST(DenoisedTest, FormatOfTheLogIsNamedAlone) {
  const ProgramResult result = RunProgram({"denoised", "--log_format", "1"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("--log_format: must be one of text, json, got 1"));
  EXPECT_THAT(RunProgram({"denoised", "--help"}).out, HasSubstr("--log_format {text,json} [text]"));
}

TEST(DenoisedTest, MistypedFlagIsAUsageError) {
  const ProgramResult result = RunProgram({"denoised", "--bogus"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.err, "denoised: error: The following argument was not expected: --bogus\nSee denoised --help.\n");
}

}  // namespace
}  // namespace denoised
