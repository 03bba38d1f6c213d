// The program denoise, as a user runs it, against a server that the test plays.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "common/image/image.h"
#include "common/image/png.h"
#include "denoised/v1/digit_service.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/testing/free_port.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing::Not;
using testing::StartsWith;

// A picture of one grey, which tells a test what it was drawn for.
std::string Png(int size, int grey) {
  const GreyImage image{
      .width = size, .height = size, .pixels = std::vector<uint8_t>(size * size, static_cast<uint8_t>(grey))};
  return *EncodePng(image);
}

int Grey(int digit, uint32_t image_index) { return 20 * digit + static_cast<int>(image_index); }

// A server's refusal of one field.
grpc::Status BadRequest(const std::string& field, const std::string& description) {
  google::rpc::BadRequest bad;
  auto& violation = *bad.add_field_violations();
  violation.set_field(field);
  violation.set_description(description);
  google::rpc::Status rich;
  rich.add_details()->PackFrom(bad);
  return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, field + " " + description, rich.SerializeAsString());
}

class FakeService : public v1::DigitService::Service {
 public:
  using Writer = grpc::ServerWriter<v1::GenerateDigitResponse>;
  using Behavior = std::function<grpc::Status(grpc::ServerContext*, const v1::GenerateDigitRequest&, Writer*)>;

  grpc::Status GenerateDigit(grpc::ServerContext* context, const v1::GenerateDigitRequest* request,
                             Writer* writer) override {
    {
      const absl::MutexLock lock(&mu_);
      requests_.push_back(*request);
    }
    return behavior(context, *request, writer);
  }
  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest*, v1::GetModelResponse* model) override {
    model->set_model_version("0123456789ab");
    model->set_architecture("compact");
    model->set_parameter_count(123);
    model->set_device("cpu");
    model->set_engine("an engine");
    for (const std::string& name : class_names) model->add_class_names(name);
    model->set_sha256("0123456789abcdef");
    model->set_max_images_per_request(4);
    model->set_max_batch_rows(8);
    model->set_max_queued_images(100);
    model->set_distilled_steps(distilled_steps);
    return grpc::Status::OK;
  }

  std::vector<v1::GenerateDigitRequest> requests() const {
    const absl::MutexLock lock(&mu_);
    return requests_;
  }

  Behavior behavior = &DrawAll;
  uint32_t distilled_steps = 0;
  std::vector<std::string> class_names = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};

  static grpc::Status DrawAll(grpc::ServerContext*, const v1::GenerateDigitRequest& request, Writer* writer) {
    Accept(request, writer);
    for (uint32_t i = 0; i < request.count(); ++i) DrawOne(request, request.first_image() + i, writer);
    return grpc::Status::OK;
  }
  static void Accept(const v1::GenerateDigitRequest& request, Writer* writer) {
    v1::GenerateDigitResponse event;
    event.mutable_accepted()->set_seed(request.seed());
    event.mutable_accepted()->set_steps(1000);
    event.mutable_accepted()->set_model_version("0123456789ab");
    writer->Write(event);
  }
  static void DrawOne(const v1::GenerateDigitRequest& request, uint32_t index, Writer* writer) {
    const int size = request.image().size() == 0 ? 256 : static_cast<int>(request.image().size());
    const std::string png = Png(size, Grey(request.digit(), index));
    v1::GenerateDigitResponse event;
    if (const uint32_t every = request.preview().every_steps(); every > 0) {
      for (uint32_t step = every; step <= 1000; step += every) {
        event.mutable_preview()->set_image_index(index);
        event.mutable_preview()->set_step(step);
        event.mutable_preview()->set_total_steps(1000);
        event.mutable_preview()->set_png(png);
        writer->Write(event);
      }
    }
    v1::GenerateDigitResponse::Image& image = *event.mutable_image();
    image.set_image_index(index);
    image.set_seed(42);
    image.set_png(png);
    image.set_width(size);
    image.set_height(size);
    image.mutable_denoise_duration()->set_seconds(3);
    image.mutable_denoise_duration()->set_nanos(250'000'000);
    writer->Write(event);
  }

 private:
  mutable absl::Mutex mu_;
  std::vector<v1::GenerateDigitRequest> requests_ ABSL_GUARDED_BY(mu_);
};

class DenoiseTest : public testing::Test {
 protected:
  DenoiseTest() {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  ~DenoiseTest() override { Stop(); }

  // Afterwards no call is under way, not even one whose client has gone.
  void Stop() {
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }
  // At the same address.
  void StartAgain() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address_, grpc::InsecureServerCredentials());
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
  }

  ProgramResult Denoise(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "denoise");
    // The folder instead of ~/.config, where a tester may have settings.
    return RunProgram(arguments, {"DENOISE_SERVER=" + address_, "XDG_CONFIG_HOME=" + folder_.path()}, folder_.path());
  }
  // The same as a shell runs it, redirections and all.
  ProgramResult InShell(const std::string& arguments, const std::vector<std::string>& environment = {}) {
    return InShellOf(folder_, arguments, environment);
  }
  ProgramResult InShellOf(const TempFolder& folder, const std::string& arguments,
                          const std::vector<std::string>& environment = {}) {
    std::vector<std::string> all = {"DENOISE_SERVER=" + address_, "XDG_CONFIG_HOME=" + folder_.path()};
    all.insert(all.end(), environment.begin(), environment.end());
    return RunProgram({"/bin/sh", "-c", "exec " DENOISED_BIN_DIR "/denoise " + arguments}, all, folder.path());
  }
  // And at a terminal.
  ProgramResult AtATerminal(const std::string& arguments, const std::string& size,
                            const std::vector<std::string>& environment) {
    std::vector<std::string> all = {"DENOISE_SERVER=" + address_, "XDG_CONFIG_HOME=" + folder_.path()};
    all.insert(all.end(), environment.begin(), environment.end());
    return RunProgram(
        {"/bin/sh", "-c",
         "exec script -qec 'stty " + size + "; exec " DENOISED_BIN_DIR "/denoise " + arguments + "' /dev/null"},
        all, folder_.path());
  }
  GreyImage Read(const std::string& name) {
    const absl::StatusOr<GreyImage> image = DecodePng(Slurp(folder_.File(name)));
    return image.ok() ? *image : GreyImage{};
  }
  std::vector<std::string> Files() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  // Of its subfolders too, by their names in it.
  static std::vector<std::string> AllFiles(const TempFolder& folder) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path())) {
      if (!entry.is_directory()) names.push_back(std::filesystem::relative(entry.path(), folder.path()).string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  TempFolder folder_;
  FakeService service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

TEST_F(DenoiseTest, DrawsADigitAndSaysWhereItIs) {
  const ProgramResult result = Denoise({"7"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "digit-7.png  256x256, seed 42, 1000 steps in 3.2 s (queued 0.0 s)\n");
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(Slurp(folder_.File("digit-7.png")), Png(256, Grey(7, 0)));
  EXPECT_FALSE(service_.requests()[0].has_preview()) << "nobody would see it";
}

TEST_F(DenoiseTest, SendsWhatTheFlagsSay) {
  const ProgramResult result =
      Denoise({"--digit=3", "--count=2", "--seed=18446744073709551615", "--sampler=ddim", "--steps=25", "--eta=0.5",
               "--guidance_scale=2", "--priority=batch", "--size=64", "--interpolation=nearest",
               "--previews_dir=frames", "--preview_every=500", "--preview_kind=clean"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  v1::GenerateDigitRequest expected;
  expected.set_digit(3);
  expected.set_count(2);
  expected.set_seed(~uint64_t{0});
  expected.set_sampler(v1::SAMPLER_DDIM);
  expected.set_steps(25);
  expected.set_eta(0.5f);
  expected.set_guidance_scale(2.0f);
  expected.mutable_image()->set_size(64);
  expected.set_priority(v1::PRIORITY_BATCH);
  expected.mutable_image()->set_interpolation(v1::INTERPOLATION_NEAREST);
  expected.mutable_preview()->set_every_steps(500);
  expected.mutable_preview()->set_kind(v1::PREVIEW_KIND_PREDICTED_CLEAN);
  EXPECT_EQ(service_.requests()[0].DebugString(), expected.DebugString());
  EXPECT_THAT(Files(), ElementsAre("digit-3-0.png", "digit-3-1.png", "frames"));
  EXPECT_EQ(Read("frames/digit-3-1-step-0500.png").pixels[0], Grey(3, 1));
}

TEST_F(DenoiseTest, FlagWinsOverItsEnvironmentVariable) {
  const ProgramResult result =
      RunProgram({"denoise", "7", "--seed", "5", "--server", address_},
                 {"DENOISE_SERVER=localhost:1", "DENOISE_SEED=6", "DENOISE_STEPS=9"}, folder_.path());
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(service_.requests()[0].seed(), 5u);
  EXPECT_EQ(service_.requests()[0].steps(), 9u);
}

TEST_F(DenoiseTest, FlagsWithoutAValueHaveEnvironmentVariablesToo) {
  const auto denoise = [&](const std::string& variable) {
    return RunProgram({"denoise", "7"}, {"DENOISE_SERVER=" + address_, variable}, folder_.path());
  };
  EXPECT_EQ(denoise("DENOISE_TLS=1").err, "denoise: error: the server at " + address_ +
                                              " speaks no TLS: leave out --tls and the --tls_ files, or ask it to\n");
  EXPECT_THAT(service_.requests(), IsEmpty());
  EXPECT_EQ(denoise("DENOISE_TLS=0").exit_code, 0);
  EXPECT_EQ(denoise("DENOISE_QUIET=yes").out, "");
  const ProgramResult mistyped = denoise("DENOISE_TLS=maybe");
  EXPECT_EQ(mistyped.exit_code, 2);
  EXPECT_EQ(mistyped.err, "denoise: error: DENOISE_TLS: must be true or false, got maybe\nSee denoise --help.\n");
}

// Reported: results that could not be written to standard output were lost, and the exit status was 0.
TEST_F(DenoiseTest, ResultsThatCannotBePrintedAreAnError) {
  const std::string load = " --duration=0.1 --warmup=0 --size=32";
  for (const std::string& arguments :
       {std::string("7"), std::string("7 --json"), std::string("--grid --json"), std::string("--model"),
        std::string("--model --json"), std::string("health"), std::string("health --json"),
        "bench --concurrency=1 --json" + load, "bench --concurrency=1" + load,
        std::string("dataset --out=set --per_digit=1 --json"), std::string("--help"), std::string("--version"),
        std::string("bench --help"), std::string("--print_manual"), std::string("--print_completions bash")}) {
    const ProgramResult full = InShell(arguments + " >/dev/full");
    EXPECT_EQ(full.exit_code, 1) << arguments;
    EXPECT_THAT(full.err, StartsWith("denoise: error: cannot write to standard output: No space left on device\n"))
        << arguments;
    const ProgramResult closed = InShell(arguments + " >&-");
    EXPECT_EQ(closed.exit_code, 1) << arguments;
    EXPECT_THAT(closed.err, StartsWith("denoise: error: cannot write to standard output: Bad file descriptor\n"))
        << arguments;
  }
}

TEST_F(DenoiseTest, VersionNamesTheRevision) {
  EXPECT_THAT(Denoise({"--version"}).out,
              MatchesRegex("denoise [0-9]+\\.[0-9]+\\.[0-9]+ \\(([0-9a-f]{12}(-dirty)?|unknown)\\)\n"));
}

TEST_F(DenoiseTest, ShowsThePictureWhenAskedTo) {
  const ProgramResult result = Denoise({"7", "--picture=always"});
  const size_t lines = static_cast<size_t>(std::count(result.out.begin(), result.out.end(), '\n'));
  EXPECT_EQ(lines, 16u + 1u);
}

TEST_F(DenoiseTest, QuietSaysNothing) {
  const ProgramResult result = Denoise({"7", "--quiet", "--picture=always"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out + result.err, "");
}

TEST_F(DenoiseTest, GridHoldsTheTenDigitsInOrder) {
  const ProgramResult result = Denoise({"--grid", "--seed=9", "--size=32"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, MatchesRegex("grid.png  184x76, 1 of each digit, seed 9, 1000 steps, in .* s\n"));
  const GreyImage grid = Read("grid.png");
  ASSERT_EQ(grid.width, 184);
  for (int digit = 0; digit < 10; ++digit) {
    const int x = 4 + (digit % 5) * 36;
    const int y = 4 + (digit / 5) * 36;
    EXPECT_EQ(grid.pixels[y * grid.width + x], Grey(digit, 0)) << digit;
  }
  for (const v1::GenerateDigitRequest& request : service_.requests()) EXPECT_EQ(request.seed(), 9u);
}

TEST_F(DenoiseTest, SheetHasAColumnForEachDigit) {
  const ProgramResult result = Denoise({"--grid", "--per_digit=3", "--size=32", "--out=sheet.png"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const GreyImage sheet = Read("sheet.png");
  ASSERT_EQ(sheet.width, 364);
  ASSERT_EQ(sheet.height, 112);
  EXPECT_EQ(sheet.pixels[(4 + 2 * 36) * sheet.width + 4 + 7 * 36], Grey(7, 2));
}

TEST_F(DenoiseTest, GridFailsAsAWholeWithOneMessage) {
  service_.behavior = [](grpc::ServerContext* context, const v1::GenerateDigitRequest& request, FakeService::Writer*) {
    if (request.digit() == 4) return grpc::Status(grpc::StatusCode::INTERNAL, "out of memory");
    while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return grpc::Status::CANCELLED;
  };
  const ProgramResult result = Denoise({"--grid"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, "denoise: error: the server at " + address_ + " says: out of memory\n");
  EXPECT_THAT(Files(), IsEmpty());
}

// ---- A data set ----

// Places of the images: the first of each digit, the second of each digit, and so on.
TEST_F(DenoiseTest, DatasetIsATrainingSetInMnistsFormat) {
  const ProgramResult result = Denoise({"dataset", "--out=set", "--per_digit=10", "--seed=7"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, MatchesRegex("set/train-images-idx3-ubyte, set/train-labels-idx1-ubyte  100 digits, seed 7, "
                                       "100 drawn in .*, .* a second\n"));
  const std::string images = Slurp(folder_.File("set/train-images-idx3-ubyte"));
  const std::string labels = Slurp(folder_.File("set/train-labels-idx1-ubyte"));
  ASSERT_EQ(images.size(), 16u + 100 * 32 * 32);
  ASSERT_EQ(labels.size(), 8u + 100);
  EXPECT_EQ(images.substr(0, 16), std::string({0, 0, 8, 3, 0, 0, 0, 100, 0, 0, 0, 32, 0, 0, 0, 32}));
  for (int place = 0; place < 100; ++place) {
    const int digit = place % 10, index = place / 10;
    EXPECT_EQ(labels[8 + place], digit);
    EXPECT_EQ(static_cast<uint8_t>(images[16 + 1024 * place + 500]), Grey(digit, index)) << place;
  }
  for (const v1::GenerateDigitRequest& request : service_.requests()) {
    EXPECT_EQ(request.seed(), 7u + request.digit()) << "no two digits share their noise";
    EXPECT_LE(request.count(), 4u) << "the server's limit";
    EXPECT_EQ(request.priority(), v1::PRIORITY_BATCH) << "those who wait go first";
    EXPECT_EQ(request.image().size(), 32u);
  }
  const auto manifest = nlohmann::json::parse(Slurp(folder_.File("set/manifest.json")));
  EXPECT_EQ(manifest["complete"], true);
  EXPECT_EQ(manifest["drawn_with"]["--seed"], "7");
  EXPECT_EQ(manifest["drawn_with"]["--sampler"], "ddpm");
  EXPECT_EQ(manifest["drawn_with"]["model_sha256"], "0123456789abcdef");
  EXPECT_EQ(manifest["class_names"][9], "9");
  EXPECT_FALSE(std::filesystem::exists(folder_.File("set/class_names.txt"))) << "digits are called by their numbers";
}

TEST_F(DenoiseTest, DatasetGoesOnWhereItEnded) {
  std::atomic<int> calls = 0;
  service_.behavior = [&](grpc::ServerContext* context, const v1::GenerateDigitRequest& request,
                          FakeService::Writer* writer) {
    if (++calls > 25) return grpc::Status(grpc::StatusCode::INTERNAL, "out of memory");
    return FakeService::DrawAll(context, request, writer);
  };
  const std::vector<std::string> command = {"dataset", "--out=set", "--per_digit=20"};
  const ProgramResult first = Denoise(command);
  EXPECT_EQ(first.exit_code, 1);
  EXPECT_THAT(first.err, MatchesRegex("denoise: error: the server at .* says: out of memory; [0-9]+ of 200 digits are "
                                      "in set; the same command goes on from there\n"));
  const auto before = nlohmann::json::parse(Slurp(folder_.File("set/manifest.json")));
  EXPECT_GT(before["images"], 0);
  EXPECT_LT(before["images"], 200);

  Stop();
  StartAgain();
  calls = -1000;
  const size_t asked = service_.requests().size();
  const ProgramResult second = Denoise(command);
  EXPECT_EQ(second.exit_code, 0) << second.err;
  const auto after = nlohmann::json::parse(Slurp(folder_.File("set/manifest.json")));
  EXPECT_EQ(after["images"], 200);
  EXPECT_EQ(after["drawn_with"], before["drawn_with"]) << "the seed was drawn at random, once";
  uint32_t drawn = 0;
  const std::vector<v1::GenerateDigitRequest> requests = service_.requests();
  for (size_t i = asked; i < requests.size(); ++i) drawn += requests[i].count();
  EXPECT_EQ(drawn, 200 - before["images"].get<uint32_t>()) << "nothing is drawn twice";
  const std::string images = Slurp(folder_.File("set/train-images-idx3-ubyte"));
  for (int place = 0; place < 200; ++place) {
    EXPECT_EQ(static_cast<uint8_t>(images[16 + 1024 * place + 500]), Grey(place % 10, place / 10)) << place;
  }
  EXPECT_THAT(Denoise(command).out, HasSubstr("200 digits, seed ")) << "and once more is no work";
  EXPECT_EQ(service_.requests().size(), requests.size());
}

// A server with room for 2 x 8 images under way: four calls of four.
TEST_F(DenoiseTest, DatasetKeepsTheServersBatchesFull) {
  std::atomic<int> running = 0, most = 0;
  service_.behavior = [&](grpc::ServerContext* context, const v1::GenerateDigitRequest& request,
                          FakeService::Writer* writer) {
    const int now = ++running;
    for (int before = most; before < now && !most.compare_exchange_weak(before, now);) {
    }
    while (most < 4) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // or the test's time limit
    const grpc::Status status = FakeService::DrawAll(context, request, writer);
    --running;
    return status;
  };
  EXPECT_EQ(Denoise({"dataset", "--out=set", "--per_digit=8"}).exit_code, 0);
  EXPECT_EQ(most, 4);
}

TEST_F(DenoiseTest, DatasetGrowsByALargerNumber) {
  ASSERT_EQ(Denoise({"dataset", "--out=set", "--per_digit=2", "--seed=1"}).exit_code, 0);
  ASSERT_EQ(Denoise({"dataset", "--out=set", "--per_digit=3"}).exit_code, 0);
  EXPECT_EQ(Slurp(folder_.File("set/train-labels-idx1-ubyte")).size(), 38u);
  const ProgramResult other = Denoise({"dataset", "--out=set", "--per_digit=3", "--seed=2"});
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_EQ(other.err,
            "denoise: error: set holds images drawn with --seed 1, not 2; go on with them as they were begun, "
            "or name another folder with --out\n");
}

TEST_F(DenoiseTest, DatasetOfMnistsOwnSize) {
  ASSERT_EQ(Denoise({"dataset", "--out=set", "--per_digit=1", "--size=28", "--quiet"}).out, "");
  const std::string images = Slurp(folder_.File("set/train-images-idx3-ubyte"));
  ASSERT_EQ(images.size(), 16u + 10 * 28 * 28);
  EXPECT_EQ(static_cast<uint8_t>(images[16 + 28 * 28 * 7 + 400]), Grey(7, 0));
}

TEST_F(DenoiseTest, DatasetOfTwoModelsIsRefused) {
  std::atomic<int> calls = 0;
  service_.behavior = [&](grpc::ServerContext*, const v1::GenerateDigitRequest& request, FakeService::Writer* writer) {
    v1::GenerateDigitResponse event;
    event.mutable_accepted()->set_model_version(++calls > 12 ? "fedcba987654" : "0123456789ab");
    writer->Write(event);
    for (uint32_t i = 0; i < request.count(); ++i) FakeService::DrawOne(request, request.first_image() + i, writer);
    return grpc::Status::OK;
  };
  const ProgramResult result = Denoise({"dataset", "--out=set", "--per_digit=20"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("the server serves the model fedcba987654 now, not 0123456789ab as when this data "
                                    "set was begun; "));
  Stop();
}

TEST_F(DenoiseTest, DatasetThatCannotBeIsSaid) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"dataset"}, "dataset needs a folder for its files, as in `denoise dataset --out synthetic`"},
      {{"dataset", "7", "--out=set"}, "a class has no use with dataset"},
      {{"dataset", "--out=set", "--previews_dir=x"}, "--previews_dir has no use with dataset"},
      {{"dataset", "--out=set", "--size=64"},
       "--size of dataset must be 32, as the network draws, or 28, as MNIST has it; got 64"},
      {{"--grid", "--per_digit=1001"}, "--per_digit: must be at most 1000 with --grid, got 1001"},
  };
  for (const auto& [arguments, message] : cases) {
    const ProgramResult result = Denoise(arguments);
    EXPECT_EQ(result.exit_code, 2) << message;
    EXPECT_EQ(result.err, "denoise: error: " + message + "\n");
  }
  EXPECT_THAT(service_.requests(), IsEmpty());
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(DenoiseTest, ModelIsATable) {
  const ProgramResult result = Denoise({"--model"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("model           0123456789ab\n"));
  EXPECT_THAT(result.out, HasSubstr("architecture    compact, 123 parameters\n"));
  EXPECT_THAT(result.out, HasSubstr("engine          an engine\n"));
}

TEST_F(DenoiseTest, ModelListsDigitsInALineAndOtherClassesEachInOne) {
  EXPECT_THAT(Denoise({"--model"}).out, HasSubstr("classes         0 1 2 3 4 5 6 7 8 9\n"));
  service_.class_names = {"cat", "Ankle boot", "a\x1b[31m"};
  EXPECT_THAT(Denoise({"--model"}).out, HasSubstr("classes          0  cat\n"
                                                  "                 1  Ankle boot\n"
                                                  "                 2  a\\x1b[31m\n"
                                                  "guidance        no\n"));
  EXPECT_EQ(nlohmann::json::parse(Denoise({"--model", "--json"}).out)["class_names"][1], "Ankle boot");
}

// ---- Classes by their names ----

class NamedClassesTest : public DenoiseTest {
 protected:
  NamedClassesTest() {
    service_.class_names = {"cat", "Ankle boot", "T-shirt/top"};
    // As the server does: draws the class and tells its number and its name.
    service_.behavior = [this](grpc::ServerContext*, const v1::GenerateDigitRequest& request,
                               FakeService::Writer* writer) {
      v1::GenerateDigitRequest named = request;
      for (int i = 0; i < static_cast<int>(service_.class_names.size()); ++i) {
        if (absl::EqualsIgnoreCase(request.class_name(), service_.class_names[i])) named.set_digit(i);
      }
      v1::GenerateDigitResponse event;
      event.mutable_accepted()->set_seed(request.seed());
      event.mutable_accepted()->set_steps(1000);
      event.mutable_accepted()->set_model_version("0123456789ab");
      event.mutable_accepted()->set_digit(named.digit());
      event.mutable_accepted()->set_class_name(service_.class_names[named.digit()]);
      writer->Write(event);
      for (uint32_t i = 0; i < request.count(); ++i) {
        FakeService::DrawOne(named, request.first_image() + i, writer);
      }
      return grpc::Status::OK;
    };
  }
};

TEST_F(NamedClassesTest, AClassIsDrawnByItsName) {
  const ProgramResult result = Denoise({"Ankle boot"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "Ankle-boot.png  256x256, seed 42, 1000 steps in 3.2 s (queued 0.0 s)\n");
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(service_.requests()[0].class_name(), "Ankle boot");
  EXPECT_FALSE(service_.requests()[0].has_digit()) << "the server knows the number";
  EXPECT_EQ(Denoise({"T-shirt/top", "--count=2", "--quiet"}).exit_code, 0);
  EXPECT_EQ(Denoise({"--digit=cat", "--seed=1", "--index=3", "--quiet"}).exit_code, 0);
  EXPECT_THAT(Files(), ElementsAre("Ankle-boot.png", "T-shirt-top-0.png", "T-shirt-top-1.png", "cat-3.png"));
}

TEST_F(NamedClassesTest, AClassIsDrawnByItsNumber) {
  ASSERT_EQ(Denoise({"1"}).exit_code, 0);
  EXPECT_EQ(service_.requests()[0].digit(), 1);
  EXPECT_EQ(service_.requests()[0].class_name(), "");
  EXPECT_THAT(Files(), ElementsAre("Ankle-boot.png"));
}

// Reported: `denoise 1` wrote digit-1.png, and `denoise 'Ankle boot'` another file.
TEST_F(NamedClassesTest, OneImageHasOneNameHoweverItsClassIsAskedFor) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> kinds = {
      {"", {"Ankle-boot.png"}},
      {"--count=2", {"Ankle-boot-0.png", "Ankle-boot-1.png"}},
      {"--count=2 --out=boots/", {"boots/Ankle-boot-0.png", "boots/Ankle-boot-1.png"}},
      {"--seed=1 --index=3", {"Ankle-boot-3.png"}},
      {"--previews_dir=f --preview_every=1000", {"Ankle-boot.png", "f/Ankle-boot-step-1000.png"}},
      {"--previews_dir=f --preview_every=1000 --out=- >boot.png", {"boot.png", "f/Ankle-boot-step-1000.png"}},
      {"--out=boot.gif", {"boot.gif"}},
      {"--out=boot.png", {"boot.png"}},
  };
  for (const auto& [flags, files] : kinds) {
    std::string told;
    for (const char* what : {"1", "'Ankle boot'", "'ankle boot'"}) {
      const TempFolder folder;
      const ProgramResult result = InShellOf(folder, absl::StrCat(what, " ", flags));
      EXPECT_EQ(result.exit_code, 0) << flags << result.err;
      EXPECT_EQ(AllFiles(folder), files) << what << " " << flags;
      if (told.empty()) told = result.out + result.err;
      EXPECT_EQ(result.out + result.err, told) << what << " " << flags;
    }
  }
}

// Nothing is drawn for a file that cannot be written, though its name comes from the server.
TEST_F(NamedClassesTest, NameFromTheServerIsProvenWritable) {
  std::filesystem::create_symlink("nowhere/there/boot.png", folder_.File("Ankle-boot.png"));
  folder_.Write("nowhere", "a file");
  const ProgramResult result = Denoise({"1"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, StartsWith("denoise: error: cannot create the folder nowhere/there: Not a directory"));
}

TEST_F(NamedClassesTest, ProgressNamesTheClassThatWasAskedForByItsNumber) {
  const std::string shown = AtATerminal("1 --picture=never", "cols 80 rows 24", {"TERM=xterm"}).out;
  EXPECT_THAT(shown, HasSubstr("Ankle boot  ["));
  EXPECT_THAT(shown, Not(HasSubstr("digit 1")));
}

TEST_F(NamedClassesTest, NamesOfCommandsAreClassesBehindTheFlag) {
  EXPECT_EQ(Denoise({"--digit=watch", "--out=w.png"}).exit_code, 0);
  EXPECT_EQ(service_.requests()[0].class_name(), "watch");
}

TEST_F(NamedClassesTest, JsonTellsNumberAndName) {
  for (const char* what : {"1", "Ankle boot"}) {
    const auto image = nlohmann::json::parse(Denoise({what, "--json"}).out);
    EXPECT_EQ(image["digit"], 1) << what;
    EXPECT_EQ(image["class_name"], "Ankle boot") << what;
  }
}

TEST_F(NamedClassesTest, NamesComeFromTheEnvironmentToo) {
  EXPECT_EQ(RunProgram({"denoise", "--quiet"}, {"DENOISE_SERVER=" + address_, "DENOISE_DIGIT=cat"}, folder_.path()).err,
            "");
  EXPECT_EQ(service_.requests()[0].class_name(), "cat");
}

TEST_F(NamedClassesTest, BenchDrawsAClassByItsName) {
  EXPECT_EQ(Denoise({"bench", "cat", "--concurrency=1", "--duration=0.1", "--warmup=0", "--size=32"}).exit_code, 0);
  EXPECT_EQ(service_.requests()[0].class_name(), "cat");
  EXPECT_FALSE(service_.requests()[0].has_digit());
}

TEST_F(NamedClassesTest, WhatTheServerSaysOfANameIsAboutTheFlag) {
  service_.behavior = [](grpc::ServerContext*, const v1::GenerateDigitRequest&, FakeService::Writer*) {
    return BadRequest("class_name", "must be one of \"cat\" and \"dog\", got \"cot\"; did you mean \"cat\"?");
  };
  for (const std::string& name : {std::string("cot"), std::string(10'000, 'x'), std::string("a\x1b[31m\n")}) {
    const ProgramResult result = Denoise({name});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.err,
              "denoise: error: --digit: must be one of \"cat\" and \"dog\", got \"cot\"; did you mean \"cat\"?\n");
  }
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(NamedClassesTest, GridHoldsEveryClass) {
  const ProgramResult result = Denoise({"--grid", "--seed=9", "--size=32"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, MatchesRegex("grid.png  112x40, 1 of each class, seed 9, 1000 steps, in .* s\n"));
  const GreyImage grid = Read("grid.png");
  ASSERT_EQ(grid.width, 112);
  for (int digit = 0; digit < 3; ++digit) EXPECT_EQ(grid.pixels[4 * grid.width + 4 + digit * 36], Grey(digit, 0));
  EXPECT_EQ(nlohmann::json::parse(Denoise({"--grid", "--json"}).out)["class_names"],
            nlohmann::json(service_.class_names));
}

TEST_F(NamedClassesTest, GridOfManyClassesIsDrawnTenAtATime) {
  service_.class_names.clear();
  for (int i = 0; i < 47; ++i) service_.class_names.push_back("class " + std::to_string(i));
  std::atomic<int> running = 0, most = 0;
  service_.behavior = [&](grpc::ServerContext* context, const v1::GenerateDigitRequest& request,
                          FakeService::Writer* writer) {
    const int now = ++running;
    for (int before = most; before < now && !most.compare_exchange_weak(before, now);) {
    }
    const grpc::Status status = FakeService::DrawAll(context, request, writer);
    --running;
    return status;
  };
  EXPECT_THAT(Denoise({"--grid", "--size=32"}).out, HasSubstr("grid.png  292x220, 1 of each class"));
  EXPECT_EQ(service_.requests().size(), 47u);
  EXPECT_LE(most, 10);
  EXPECT_THAT(Denoise({"--grid", "--size=32", "--per_digit=2"}).out, HasSubstr("grid.png  1696x76, 2 of each class"));
  EXPECT_EQ(Denoise({"--grid", "--per_digit=213"}).err,
            "denoise: error: --per_digit: must be at most 212 with --grid for 47 classes, got 213\n");
}

TEST_F(NamedClassesTest, DatasetHasTheirNumbersAndNames) {
  const ProgramResult result = Denoise({"dataset", "--out=set", "--per_digit=5", "--seed=7"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("set/train-labels-idx1-ubyte  15 images, seed 7, 15 drawn in "));
  const std::string images = Slurp(folder_.File("set/train-images-idx3-ubyte"));
  const std::string labels = Slurp(folder_.File("set/train-labels-idx1-ubyte"));
  ASSERT_EQ(labels.size(), 8u + 15);
  for (int place = 0; place < 15; ++place) {
    EXPECT_EQ(labels[8 + place], place % 3);
    EXPECT_EQ(static_cast<uint8_t>(images[16 + 1024 * place + 500]), Grey(place % 3, place / 3)) << place;
  }
  const auto manifest = nlohmann::json::parse(Slurp(folder_.File("set/manifest.json")));
  EXPECT_EQ(manifest["class_names"], nlohmann::json(service_.class_names));
  EXPECT_EQ(Slurp(folder_.File("set/class_names.txt")), "cat\nAnkle boot\nT-shirt/top\n")
      << "as denoise-train reads it";
  EXPECT_THAT(Denoise({"dataset", "--out=set", "--per_digit=5"}).out,
              HasSubstr("15 images, seed 7, all there already"));
}

TEST_F(NamedClassesTest, DatasetOfMoreClassesThanABytesIsRefused) {
  service_.class_names.assign(257, "class");
  const ProgramResult result = Denoise({"dataset", "--out=set"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err,
            "denoise: error: the server's model has 257 classes; labels in MNIST's format are bytes, which tell 256 "
            "apart\n");
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(DenoiseTest, BadRequestNamesTheFlag) {
  service_.behavior = [](grpc::ServerContext*, const v1::GenerateDigitRequest&, FakeService::Writer*) {
    return BadRequest("digit", "must be 0 to 9, got 10");
  };
  for (const char* digit : {"10", "-1"}) {
    const ProgramResult result = Denoise({digit});
    EXPECT_EQ(result.exit_code, 2) << "a mistake in the command line, though it is the server that knows";
    EXPECT_EQ(result.err, "denoise: error: --digit: must be 0 to 9, got 10\n");
  }
  EXPECT_EQ(service_.requests()[0].digit(), 10);
  EXPECT_EQ(service_.requests()[1].digit(), -1);
}

TEST_F(DenoiseTest, CountOfAGridIsCalledPerDigit) {
  service_.behavior = [](grpc::ServerContext*, const v1::GenerateDigitRequest&, FakeService::Writer*) {
    return BadRequest("count", "must be at most 100, got 200");
  };
  EXPECT_EQ(Denoise({"--grid", "--per_digit=200"}).err, "denoise: error: --per_digit: must be at most 100, got 200\n");
  EXPECT_EQ(Denoise({"7", "--count=200"}).err, "denoise: error: --count: must be at most 100, got 200\n");
}

TEST_F(DenoiseTest, FullQueueIsAskedAgainAfterTheWait) {
  std::atomic<int> calls = 0;
  service_.behavior = [&](grpc::ServerContext* context, const v1::GenerateDigitRequest& request,
                          FakeService::Writer* writer) {
    if (++calls > 2) return FakeService::DrawAll(context, request, writer);
    google::rpc::RetryInfo info;
    info.mutable_retry_delay()->set_nanos(1'000'000);
    google::rpc::Status rich;
    rich.add_details()->PackFrom(info);
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full", rich.SerializeAsString());
  };
  EXPECT_EQ(Denoise({"7"}).exit_code, 0);
  EXPECT_EQ(calls, 3);
  calls = 0;
  const ProgramResult impatient = Denoise({"7", "--retries=1"});
  EXPECT_EQ(impatient.exit_code, 1);
  EXPECT_EQ(impatient.err, "denoise: error: the server at " + address_ + " says: the queue is full\n");
  EXPECT_EQ(calls, 2);
}

TEST_F(DenoiseTest, AbsentServerSaysWhatToDo) {
  const ProgramResult result = Denoise({"7", "--server=127.0.0.1:1", "--wait=0"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err,
            "denoise: error: cannot reach a server at 127.0.0.1:1; start one with `denoised`, or name another with "
            "--server (Connection refused)\n");
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(DenoiseTest, WhatWasDrawnBeforeAnErrorStays) {
  service_.behavior = [](grpc::ServerContext*, const v1::GenerateDigitRequest& request, FakeService::Writer* writer) {
    FakeService::Accept(request, writer);
    FakeService::DrawOne(request, 1, writer);
    return grpc::Status(grpc::StatusCode::INTERNAL, "out of memory");
  };
  const ProgramResult result = Denoise({"7", "--count=3"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, "denoise: error: the server at " + address_ +
                            " says: out of memory\ndenoise: error: 1 of 3 images were written; with --seed 42 --count "
                            "3 the same command draws them all\n");
  EXPECT_EQ(result.out, "digit-7-1.png  256x256, seed 42, 1000 steps in 3.2 s (queued 0.0 s)\n");
  EXPECT_THAT(Files(), ElementsAre("digit-7-1.png"));
  EXPECT_THAT(AtATerminal("7 --count=3 --picture=never", "cols 80 rows 24", {"TERM=dumb"}).out,
              StartsWith("digit-7-1.png  256x256, seed 42,"));
}

// Reported: lines came all at the end, and never where that was not reached.
TEST_F(DenoiseTest, LinesComeWithTheirImages) {
  service_.behavior = [](grpc::ServerContext* context, const v1::GenerateDigitRequest& request,
                         FakeService::Writer* writer) {
    FakeService::Accept(request, writer);
    FakeService::DrawOne(request, 0, writer);
    while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return grpc::Status::CANCELLED;
  };
  BackgroundProgram program({"denoise", "7", "--count=24", "--json", "--server", address_}, {}, folder_.path());
  while (program.out().empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // or the test's time limit
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait(), 130);
  EXPECT_EQ(nlohmann::json::parse(program.out())["seed"], "42");
  EXPECT_EQ(program.err(),
            "denoise: interrupted; 1 of 24 images were written; with --seed 42 --count 24 the same command draws them "
            "all\n");
}

TEST_F(DenoiseTest, LineThatCannotBePrintedEndsTheCall) {
  const ProgramResult result = InShell("7 --count=3 --json >/dev/full");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err,
            "denoise: error: cannot write to standard output: No space left on device\n"
            "denoise: error: 1 of 3 images were written; with --seed 42 --count 3 the same command draws them all\n");
  EXPECT_THAT(Files(), ElementsAre("digit-7-0.png"));
}

TEST_F(DenoiseTest, UnwritableFolderIsSaidBeforeAnythingIsDrawn) {
  folder_.Write("file", "");
  const ProgramResult out = Denoise({"7", "--out=file/digit.png"});
  EXPECT_EQ(out.exit_code, 1);
  EXPECT_EQ(out.err, "denoise: error: cannot create the folder file: Not a directory; choose another with --out\n");
  const ProgramResult previews = Denoise({"7", "--previews_dir=file"});
  EXPECT_EQ(previews.exit_code, 1);
  EXPECT_EQ(previews.err,
            "denoise: error: cannot create the folder file: Not a directory; choose another with --previews_dir\n");
  EXPECT_THAT(service_.requests(), IsEmpty());
}

TEST_F(DenoiseTest, MissingImagesAreAnError) {
  service_.behavior = [](grpc::ServerContext*, const v1::GenerateDigitRequest& request, FakeService::Writer* writer) {
    FakeService::Accept(request, writer);
    FakeService::DrawOne(request, 0, writer);
    return grpc::Status::OK;
  };
  const ProgramResult digit = Denoise({"7", "--count=3"});
  EXPECT_EQ(digit.exit_code, 1);
  EXPECT_THAT(digit.err, StartsWith("denoise: error: the server ended the call after 1 of 3 images\n"));
  EXPECT_THAT(Files(), ElementsAre("digit-7-0.png"));
  const ProgramResult grid = Denoise({"--grid", "--per_digit=2"});
  EXPECT_EQ(grid.exit_code, 1);
  EXPECT_EQ(grid.err, "denoise: error: the server ended the call after 1 of 2 images\n");
  EXPECT_THAT(Files(), ElementsAre("digit-7-0.png"));
}

TEST_F(DenoiseTest, InterruptCancelsTheCall) {
  std::atomic<bool> left = false;
  service_.behavior = [&](grpc::ServerContext* context, const v1::GenerateDigitRequest&, FakeService::Writer*) {
    while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    left = true;
    return grpc::Status::CANCELLED;
  };
  BackgroundProgram program({"denoise", "7", "--server", address_}, {}, folder_.path());
  while (service_.requests().empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait(), 130);
  EXPECT_EQ(program.err(), "denoise: interrupted\n");
  while (!left) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_THAT(Files(), IsEmpty());
}

// A pipe that nobody reads held on for ever, whatever was pressed.
TEST_F(DenoiseTest, SecondInterruptEndsItWhateverItWaitsFor) {
  ASSERT_EQ(mkfifo(folder_.File("pipe").c_str(), 0600), 0);
  std::atomic<bool> drawn = false;
  service_.behavior = [&](grpc::ServerContext* context, const v1::GenerateDigitRequest& request,
                          FakeService::Writer* writer) {
    const grpc::Status status = FakeService::DrawAll(context, request, writer);
    drawn = true;
    return status;
  };
  BackgroundProgram program({"denoise", "7", "--out=pipe", "--server", address_}, {}, folder_.path());
  while (!drawn) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  for (int i = 0; i < 2; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    program.Signal(SIGINT);
  }
  EXPECT_EQ(program.Wait(), 130);
}

// A proxy would get this machine's calls, and a token in plain text. gRPC asks each by itself.
TEST_F(DenoiseTest, ProxyIsNoneOfThisMachinesBusiness) {
  const std::string nobody = absl::StrCat("http://127.0.0.1:", FreePort());
  for (const char* variable : {"grpc_proxy", "https_proxy", "http_proxy"}) {
    const ProgramResult result = InShell("--model", {absl::StrCat(variable, "=", nobody), "DENOISE_TOKEN=secret"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
  }
}

TEST_F(DenoiseTest, BenchKeepsSoManyRequestsInFlight) {
  std::atomic<int> running = 0, most = 0;
  service_.behavior = [&](grpc::ServerContext* context, const v1::GenerateDigitRequest& request,
                          FakeService::Writer* writer) {
    const int now = ++running;
    for (int before = most; now > before && !most.compare_exchange_weak(before, now);) {
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const grpc::Status status = FakeService::DrawAll(context, request, writer);
    --running;
    return status;
  };
  const ProgramResult result =
      Denoise({"bench", "--concurrency", "1,4", "--duration=0.3", "--warmup=0", "--sampler=ddim", "--size=32"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, MatchesRegex("Load +images/s +finished +p50 s .*\n1 in flight .*\n4 in flight .*\n"));
  EXPECT_EQ(most, 4);
  const std::vector<v1::GenerateDigitRequest> requests = service_.requests();
  EXPECT_EQ(requests[0].sampler(), v1::SAMPLER_DDIM);
  EXPECT_EQ(requests[0].image().size(), 32u);
  EXPECT_NE(requests[0].seed(), requests[1].seed());
}

// One request at a time of 50 ms each, 40 a second: the queue grows, and latencies count from when requests were due.
TEST_F(DenoiseTest, BenchCountsLatencyFromTheMomentThatARequestWasDue) {
  absl::Mutex one_at_a_time;
  service_.behavior = [&](grpc::ServerContext* context, const v1::GenerateDigitRequest& request,
                          FakeService::Writer* writer) {
    const absl::MutexLock lock(&one_at_a_time);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return FakeService::DrawAll(context, request, writer);
  };
  const ProgramResult result =
      Denoise({"bench", "--rate=40", "--duration=1", "--warmup=0", "--size=32", "--out=load.json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Figures:  load.json\nPlot:     load.png\n"));
  const nlohmann::json level = nlohmann::json::parse(Slurp(folder_.File("load.json")))["levels"][0];
  EXPECT_EQ(level["loop"], "open");
  const int finished = level["finished"];
  EXPECT_GT(finished, 20);
  EXPECT_GE(level["latency_seconds"]["max"].get<double>(), 0.05 * finished - 1);
  EXPECT_TRUE(DecodePng(Slurp(folder_.File("load.png"))).ok());
}

TEST_F(DenoiseTest, BenchThatNeverGetsAnAnswerSaysWhy) {
  service_.behavior = [](grpc::ServerContext*, const v1::GenerateDigitRequest&, FakeService::Writer*) {
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full");
  };
  const ProgramResult refused = Denoise({"bench", "--concurrency=1", "--duration=0.2", "--warmup=0"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.out, HasSubstr("  nothing was finished\n"));
  EXPECT_THAT(refused.err, StartsWith("denoise: error: not one request was finished at 1 in flight: "));
  EXPECT_THAT(refused.err, HasSubstr("the queue is full"));

  service_.behavior = [](grpc::ServerContext*, const v1::GenerateDigitRequest&, FakeService::Writer*) {
    return BadRequest("steps", "must be 1 to 1000, got 5000");
  };
  const size_t before = service_.requests().size();
  const ProgramResult wrong = Denoise({"bench", "--concurrency=1", "--steps=5000", "--duration=1000"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("must be 1 to 1000, got 5000"));
  EXPECT_EQ(service_.requests().size(), before + 1) << "asking again would not help";

  EXPECT_EQ(Denoise({"bench", "--out=load.txt"}).err,
            "denoise: error: --out of bench must end in .json, got load.txt; the plot goes beside it\n");
  EXPECT_THAT(Denoise({"bench", "--out=/proc/load.json"}).err, HasSubstr("choose another with --out"));
}

TEST_F(DenoiseTest, BenchEndsOnAnErrorThatStaysOnceTheOthersAreAnswered) {
  std::atomic<int> asked = 0, answered = 0;
  service_.behavior = [&](grpc::ServerContext* context, const v1::GenerateDigitRequest& request,
                          FakeService::Writer* writer) {
    if (asked++ == 0) {
      while (asked < 4) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "not today");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    ++answered;
    return FakeService::DrawAll(context, request, writer);
  };
  const ProgramResult result = Denoise({"bench", "--concurrency=4", "--duration=1000", "--warmup=0", "--size=32"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("not today"));
  EXPECT_EQ(asked, 4);
  EXPECT_EQ(answered, 3);
}

TEST_F(DenoiseTest, InterruptedBenchEndsAtOnceAndKeepsTheLevelsThatAreDone) {
  BackgroundProgram program({"denoise", "bench", "--rate=30,1", "--duration=0.5", "--warmup=0", "--size=32",
                             "--out=load.json", "--server", address_},
                            {}, folder_.path());
  while (Slurp(folder_.File("load.json")).empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait(), 130);
  EXPECT_THAT(program.err(), HasSubstr("denoise: interrupted\n"));
  EXPECT_EQ(nlohmann::json::parse(Slurp(folder_.File("load.json")))["levels"].size(), 1u);
}

TEST_F(DenoiseTest, MistypedCommandsAreExplained) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "say which class to draw, by its number or its name, as in `denoise 7`, or draw them all with --grid\n"},
      {{""}, "say which class to draw, by its number or its name, as in `denoise 7`, or draw them all with --grid\n"},
      {{"Fu\xdf"
        "ball"},
       "--digit: must be UTF-8, got \"Fu\\xdfball\"\nSee denoise --help.\n"},
      {{"12345678901"}, "--digit: no model has so many classes, got \"12345678901\"\nSee denoise --help.\n"},
      {{"7", "--sampler=quick"},
       "--sampler: must be one of ddim, ddpm, dpm_solver_pp_2m, got quick\nSee denoise --help.\n"},
      {{"7", "--count=0"}, "--count: must be 1 to 1000000, got 0\nSee denoise --help.\n"},
      {{"bench", "--duration=0"}, "--duration: must be 0.1 to 1000000, got 0\nSee denoise --help.\n"},
      {{"7", "--steps"}, "--steps: needs a value\nSee denoise --help.\n"},
      {{"7", "--sed", "42"},
       "The following arguments were not expected: --sed 42; did you mean --seed?\nSee denoise --help.\n"},
      {{"7", "--concurrency", "4"},
       "The following arguments were not expected: --concurrency 4; --concurrency is of denoise bench\n"
       "See denoise --help.\n"},
      {{"7", "--bogus"}, "The following argument was not expected: --bogus\nSee denoise --help.\n"},
  };
  for (const auto& [arguments, message] : cases) {
    const ProgramResult result = Denoise(arguments);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.err, "denoise: error: " + message);
  }
  EXPECT_THAT(service_.requests(), IsEmpty());
}

// Reported: 7 --grid, --grid --count 2 and others left out a part of what was asked for, without a word.
TEST_F(DenoiseTest, FlagsThatWouldBeIgnoredAreRefused) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"7", "--grid"}, "a class has no use with --grid"},
      {{"--model", "--digit=7"}, "a class has no use with --model"},
      {{"--grid", "--count=2"}, "--count has no use with --grid; --per_digit has"},
      {{"--grid", "--previews_dir=frames"}, "--previews_dir has no use with --grid"},
      {{"7", "--per_digit=2"}, "--per_digit has no use with one class"},
      {{"bench", "--grid"}, "--grid and bench exclude each other"},
      {{"bench", "--retries=2"}, "--retries has no use with bench"},
      {{"health", "--seed=1"}, "--seed has no use with health"},
      {{"watch", "7", "--count=2"}, "--count has no use with watch"},
  };
  for (const auto& [arguments, message] : cases) {
    const ProgramResult result = Denoise(arguments);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.err, "denoise: error: " + message + "\n");
  }
  EXPECT_THAT(service_.requests(), IsEmpty());
  EXPECT_EQ(
      RunProgram({"denoise", "--grid"}, {"DENOISE_SERVER=" + address_, "DENOISE_COUNT=2"}, folder_.path()).exit_code, 0)
      << "the environment is for other commands, too";
}

// Reported: as root, --out /dev/null replaced the device, a pipe became a file, and a link was replaced.
TEST_F(DenoiseTest, DevicesPipesAndLinksAreWrittenThrough) {
  EXPECT_EQ(Denoise({"7", "--out=/dev/null"}).out, "/dev/null  256x256, seed 42, 1000 steps in 3.2 s (queued 0.0 s)\n");
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
  std::filesystem::create_symlink("file.png", folder_.File("link.png"));
  EXPECT_EQ(Denoise({"7", "--out=link.png"}).exit_code, 0);
  EXPECT_TRUE(std::filesystem::is_symlink(folder_.File("link.png")));
  EXPECT_EQ(Slurp(folder_.File("file.png")), Png(256, Grey(7, 0)));
}

TEST_F(DenoiseTest, HyphenIsStandardOutput) {
  const ProgramResult digit = Denoise({"7", "--out=-"});
  EXPECT_EQ(digit.exit_code, 0);
  EXPECT_EQ(digit.out, Png(256, Grey(7, 0)));
  EXPECT_EQ(digit.err, "standard output  256x256, seed 42, 1000 steps in 3.2 s (queued 0.0 s)\n");
  const ProgramResult grid = Denoise({"--grid", "--out", "-", "--quiet"});
  EXPECT_TRUE(DecodePng(grid.out).ok());
  EXPECT_EQ(grid.err, "");
  EXPECT_THAT(Files(), IsEmpty());
  const ProgramResult several = Denoise({"7", "--count=3", "--out=-"});
  EXPECT_EQ(several.exit_code, 2);
  EXPECT_EQ(several.err,
            "denoise: error: --out: standard output takes one image, not 3; name a folder, as in --out "
            "sevens/\n");
}

// Reported: the file x.jpg held a PNG, and --count 3 --out plain wrote plain-0.
TEST_F(DenoiseTest, NamesThatPromiseSomethingElseAreRefused) {
  const ProgramResult jpeg = Denoise({"7", "--out=x.jpg"});
  EXPECT_EQ(jpeg.exit_code, 2);
  EXPECT_EQ(jpeg.err,
            "denoise: error: --out: pictures are PNGs, GIFs or APNGs, and x.jpg promises something else; call it "
            "x.png\n");
  EXPECT_EQ(Denoise({"--grid", "--out=x.gif"}).err,
            "denoise: error: --out: pictures are PNGs, and x.gif promises something else; call it x.png\n");
  const ProgramResult plain = Denoise({"7", "--count=3", "--out=plain"});
  EXPECT_EQ(plain.exit_code, 2);
  EXPECT_EQ(plain.err,
            "denoise: error: --out: plain is one name for 3 images; plain/ is a folder for them, plain.png "
            "makes plain-0.png and so on\n");
  EXPECT_THAT(service_.requests(), IsEmpty());
  EXPECT_EQ(Denoise({"7", "--out=plain"}).exit_code, 0);
  EXPECT_THAT(Files(), ElementsAre("plain"));
}

TEST_F(DenoiseTest, EndingAsksForTheWholeChainAsAnAnimation) {
  const ProgramResult gif = Denoise({"7", "--size=32", "--out=seven.gif"});
  EXPECT_EQ(gif.exit_code, 0) << gif.err;
  EXPECT_EQ(service_.requests()[0].preview().every_steps(), 20u);
  EXPECT_THAT(Slurp(folder_.File("seven.gif")), StartsWith("GIF89a"));
  EXPECT_EQ(Denoise({"7", "--size=32", "--out=seven.apng", "--preview_every=500"}).exit_code, 0);
  const std::string apng = Slurp(folder_.File("seven.apng"));
  EXPECT_TRUE(DecodePng(apng).ok());
  EXPECT_EQ(apng.substr(apng.find("acTL") + 4, 4), std::string("\0\0\0\3", 4)) << "two frames and the picture";
  EXPECT_THAT(Denoise({"7", "--count=2", "--out=seven.gif"}).err, HasSubstr("--out: seven.gif takes one image, not 2"));
}

TEST_F(DenoiseTest, IndexIsOneImageOfASeedAlone) {
  EXPECT_EQ(Denoise({"7", "--seed=42", "--index=3"}).exit_code, 0);
  EXPECT_EQ(service_.requests()[0].first_image(), 3u);
  EXPECT_EQ(service_.requests()[0].count(), 1u);
  EXPECT_THAT(Files(), ElementsAre("digit-7-3.png"));
  EXPECT_EQ(Read("digit-7-3.png").pixels[0], Grey(7, 3));
  EXPECT_EQ(Denoise({"7", "--index=3"}).err,
            "denoise: error: --index: tells the images of a seed apart; give the one it was drawn with, by --seed\n");
  EXPECT_EQ(Denoise({"7", "--index=3", "--seed=1", "--count=2"}).err,
            "denoise: error: --index is one image, --count several: leave one of them out\n");
  service_.behavior = [](grpc::ServerContext*, const v1::GenerateDigitRequest& request, FakeService::Writer* writer) {
    FakeService::DrawOne(request, 0, writer);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Denoise({"7", "--index=3", "--seed=1"}).err,
            "denoise: error: --index: this server is older, and cannot draw one image of a seed alone\n");
}

TEST_F(DenoiseTest, WatchNeedsATerminal) {
  const ProgramResult result = Denoise({"watch", "7"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err,
            "denoise: error: watch needs a terminal, and standard error is none; `denoise 7 --previews_dir frames` "
            "keeps the frames elsewhere\n");
  EXPECT_THAT(service_.requests(), IsEmpty());
}

// Reported: a dumb terminal was told that it needed 33 columns, which it had.
TEST_F(DenoiseTest, WatchSaysWhatATerminalLacks) {
  EXPECT_EQ(AtATerminal("watch 7", "cols 80 rows 24", {"TERM=dumb"}).out,
            "denoise: error: watch needs a terminal whose cursor can be moved, and TERM says \"dumb\"; `denoise 7 "
            "--previews_dir frames` keeps the frames elsewhere\r\n");
  EXPECT_THAT(AtATerminal("watch 7", "cols 80 rows 10", {"TERM=xterm"}).out,
              HasSubstr("denoise: error: watch needs a terminal of 33 columns and 18 lines at least, and this one has "
                        "80 and 10; `denoise 7 --previews_dir frames` keeps the frames elsewhere\r\n"));
  EXPECT_THAT(service_.requests(), IsEmpty());
}

TEST_F(DenoiseTest, WatchShowsAHundredFramesAndKeepsNone) {
  const ProgramResult result =
      AtATerminal("watch 7", "cols 80 rows 24", {"TERM=xterm", "DENOISE_QUIET=1", "DENOISE_COUNT=2"});
  ASSERT_EQ(result.exit_code, 0) << result.out;
  EXPECT_EQ(service_.requests()[0].preview().every_steps(), 10u);
  EXPECT_THAT(result.out, HasSubstr("step 500/1000"));
  EXPECT_THAT(Files(), IsEmpty());
}

// Reported: the line named a file that did not exist.
TEST_F(DenoiseTest, WatchSaysThatNothingIsKept) {
  const std::vector<std::string> terminal = {"TERM=xterm"};
  EXPECT_THAT(AtATerminal("watch 7", "cols 80 rows 24", terminal).out,
              HasSubstr("not kept (--out keeps it)  256x256, seed 42, 1000 steps"));
  EXPECT_THAT(AtATerminal("watch 7 --json", "cols 80 rows 24", terminal).out, HasSubstr("{\"file\":null,\"digit\":7,"));
  EXPECT_THAT(AtATerminal("watch 7 --json --out 7.png", "cols 80 rows 24", terminal).out,
              HasSubstr("{\"file\":\"7.png\",\"digit\":7,"));
}

TEST_F(DenoiseTest, JsonIsALineForEachImage) {
  const ProgramResult result = Denoise({"7", "--count=2", "--json"});
  EXPECT_EQ(result.exit_code, 0);
  const std::vector<std::string> lines = absl::StrSplit(result.out, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 2u);
  const nlohmann::json image = nlohmann::json::parse(lines[1]);
  EXPECT_EQ(image["file"], "digit-7-1.png");
  EXPECT_EQ(image["seed"], "42");
  EXPECT_EQ(image["image_index"], 1);
  EXPECT_EQ(image["denoise_seconds"], 3.25);
  EXPECT_EQ(nlohmann::json::parse(Denoise({"--grid", "--seed=9", "--json"}).out)["seed"], "9");
  EXPECT_EQ(nlohmann::json::parse(Denoise({"--model", "--json"}).out)["model_version"], "0123456789ab");
}

// Reported: a client that read as fast as it could kept 10 to 20 of 20 frames, and did not say so.
TEST_F(DenoiseTest, FramesThatTheServerLeftOutAreCounted) {
  const ProgramResult all = Denoise({"7", "--previews_dir=frames"});
  EXPECT_THAT(all.out, HasSubstr("frames  20 frames\n"));
  EXPECT_EQ(all.err, "");
  service_.behavior = [](grpc::ServerContext*, const v1::GenerateDigitRequest& request, FakeService::Writer* writer) {
    FakeService::Accept(request, writer);
    v1::GenerateDigitRequest rare = request;
    rare.mutable_preview()->set_every_steps(2 * request.preview().every_steps());
    FakeService::DrawOne(rare, 0, writer);
    return grpc::Status::OK;
  };
  const ProgramResult half = Denoise({"7", "--previews_dir=frames"});
  EXPECT_EQ(half.exit_code, 0);
  EXPECT_EQ(
      half.err,
      "denoise: warning: 10 of 20 frames are missing in frames: the server leaves out what cannot be sent in time; "
      "ask for fewer with --preview_every, or smaller ones with --size\n");
}

// Reported: a second run into the same folder mixed two chains.
TEST_F(DenoiseTest, FramesOfAnEarlierRunDoNotMixWithThoseOfTheNext) {
  std::filesystem::create_directory(folder_.File("frames"));
  for (const char* other : {"digit-3-step-0001.png", "digit-7-notes.txt", "digit-7-step-0001.txt"}) {
    folder_.Write(std::string("frames/") + other, "kept");
  }
  const auto frames_after = [this](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"7", "--previews_dir=frames"});
    EXPECT_EQ(Denoise(flags).exit_code, 0);
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.File("frames"))) {
      const std::string name = entry.path().filename().string();
      if (Slurp(entry.path().string()) != "kept") names.push_back(name);
    }
    return names;
  };
  using testing::UnorderedElementsAre;
  EXPECT_THAT(frames_after({"--preview_every=500"}),
              UnorderedElementsAre("digit-7-step-0500.png", "digit-7-step-1000.png"));
  EXPECT_THAT(frames_after({"--preview_every=1000"}), UnorderedElementsAre("digit-7-step-1000.png"));
  EXPECT_THAT(frames_after({"--preview_every=1000", "--count=11"}),
              testing::AllOf(testing::SizeIs(12), testing::Contains("digit-7-10-step-1000.png")));
  EXPECT_THAT(frames_after({"--preview_every=1000", "--count=2"}),
              UnorderedElementsAre("digit-7-step-1000.png", "digit-7-0-step-1000.png", "digit-7-1-step-1000.png"));
  EXPECT_THAT(frames_after({"--preview_every=500"}),
              UnorderedElementsAre("digit-7-step-0500.png", "digit-7-step-1000.png", "digit-7-0-step-1000.png",
                                   "digit-7-1-step-1000.png"))
      << "a single image's frames are none of the numbered ones', and remove none of them";
  for (const char* other : {"digit-3-step-0001.png", "digit-7-notes.txt", "digit-7-step-0001.txt"}) {
    EXPECT_EQ(Slurp(folder_.File(std::string("frames/") + other)), "kept");
  }
}

// Frames of a chain of four steps were asked for every 50: there were none, and nothing was said.
TEST_F(DenoiseTest, FramesOfAStudentAreThoseOfItsShortChain) {
  service_.distilled_steps = 4;
  for (const char* flags : {"--previews_dir=frames", "--out=seven.gif"}) {
    ASSERT_EQ(Denoise({"7", flags}).exit_code, 0);
    EXPECT_EQ(service_.requests().back().preview().every_steps(), 1u) << flags;
  }
  ASSERT_EQ(Denoise({"7", "--previews_dir=frames", "--preview_every=2"}).exit_code, 0);
  EXPECT_EQ(service_.requests().back().preview().every_steps(), 2u);
}

TEST_F(DenoiseTest, DatasetOfAStudentSaysItsChain) {
  service_.distilled_steps = 4;
  ASSERT_EQ(Denoise({"dataset", "--out=set", "--per_digit=1"}).exit_code, 0);
  const nlohmann::json manifest = nlohmann::json::parse(Slurp(folder_.File("set/manifest.json")));
  const std::string text = manifest.dump();
  EXPECT_THAT(text, HasSubstr(R"("--sampler":"ddim")"));
  EXPECT_THAT(text, HasSubstr(R"("--steps":4)"));
}

TEST_F(DenoiseTest, JsonOfANameThatIsNoUtf8IsJson) {
  for (const std::string command : {"7", "--grid", "dataset"}) {
    const std::string name = command == "dataset" ? "caf\xe9" : "caf\xe9.png";
    std::vector<std::string> arguments = {command, "--json", "--out=" + name};
    if (command == "dataset") arguments.push_back("--per_digit=1");
    const ProgramResult result = Denoise(arguments);
    EXPECT_EQ(result.exit_code, 0) << command << ": " << result.err;
    EXPECT_TRUE(nlohmann::json::accept(result.out)) << result.out;
    EXPECT_TRUE(std::filesystem::exists(folder_.File(name)));
  }
}

TEST_F(DenoiseTest, ModelAsJsonHasWhatIsZeroToo) {
  const nlohmann::json model = nlohmann::json::parse(Denoise({"--model", "--json"}).out);
  EXPECT_EQ(model["distilled_steps"], 0);
  EXPECT_EQ(model["supports_guidance"], false);
}

TEST_F(DenoiseTest, BenchGoesOnAfterALevelThatFinishesNothing) {
  // The seeds of each level begin at 1.
  std::atomic<int> levels = 0;
  service_.behavior = [&levels](grpc::ServerContext* context, const v1::GenerateDigitRequest& request,
                                FakeService::Writer* writer) {
    if (request.seed() == 1) ++levels;
    if (levels > 1) return FakeService::DrawAll(context, request, writer);
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full");
  };
  const ProgramResult result = Denoise({"bench", "--concurrency=1,2", "--duration=0.1", "--warmup=0", "--size=32"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("  nothing was finished\n"));
  EXPECT_THAT(result.out,
              HasSubstr(" refused, at first: the server at " + address_ + " says: the queue is full\n2 in flight"));
}

TEST_F(DenoiseTest, WaitsForAServerThatStarts) {
  Stop();
  BackgroundProgram program({"denoise", "7", "--server", address_, "--wait=600"}, {}, folder_.path());
  program.AwaitLine("denoise: no server at " + address_ + " yet; waiting up to 600 s");
  StartAgain();
  EXPECT_EQ(program.Wait(), 0) << program.err();
  EXPECT_THAT(Files(), ElementsAre("digit-7.png"));
}

TEST_F(DenoiseTest, HealthSaysWhatTheServerSays) {
  server_->GetHealthCheckService()->SetServingStatus(false);
  const ProgramResult result = Denoise({"health"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, "denoise: error: the server at " + address_ + " is up, but says NOT_SERVING\n");
}

TEST_F(DenoiseTest, HealthWithWaitWaitsUntilTheServerServes) {
  server_->GetHealthCheckService()->SetServingStatus(false);
  BackgroundProgram program({"denoise", "health", "--server", address_, "--wait=600"}, {}, folder_.path());
  program.AwaitLine("denoise: the server at " + address_ + " does not serve yet; waiting up to 600 s");
  server_->GetHealthCheckService()->SetServingStatus(true);
  EXPECT_EQ(program.Wait(), 0) << program.err();
}

TEST_F(DenoiseTest, SettingsFileStandsBehindEnvironmentAndFlags) {
  const auto denoise = [this](const std::vector<std::string>& environment) {
    std::vector<std::string> all = {"XDG_CONFIG_HOME=" + folder_.path()};
    all.insert(all.end(), environment.begin(), environment.end());
    return RunProgram({"denoise", "7", "--seed=1"}, all, folder_.path());
  };
  folder_.Write("denoise.toml", "# mine\nserver = \"" + address_ + "\"\nsteps = 9\nseed = 5\nquiet = true\n");
  EXPECT_EQ(denoise({}).err, "");
  EXPECT_EQ(denoise({"DENOISE_STEPS=8"}).out, "");
  EXPECT_EQ(service_.requests()[0].steps(), 9u);
  EXPECT_EQ(service_.requests()[0].seed(), 1u);
  EXPECT_EQ(service_.requests()[1].steps(), 8u);

  const std::string path = folder_.Write("denoise.toml", "sever = \"localhost\"\n");
  const ProgramResult mistyped = denoise({});
  EXPECT_EQ(mistyped.exit_code, 2);
  EXPECT_EQ(mistyped.err,
            "denoise: error: " + path +
                ": there is no setting named \"sever\"; settings are called as the flags of `denoise --help`, "
                "without hyphens\n");
  folder_.Write("denoise.toml", "token = \"secret\"\n");
  chmod(path.c_str(), 0644);
  EXPECT_EQ(denoise({}).err,
            "denoise: error: " + path + ": holds a token, and others may read it; chmod 600 " + path + "\n");
  chmod(path.c_str(), 0600);
  EXPECT_EQ(denoise({"DENOISE_SERVER=" + address_}).exit_code, 0);
  EXPECT_EQ(RunProgram({"denoise", "7"}, {"DENOISE_CONFIG=/nowhere.toml"}).err,
            "denoise: error: DENOISE_CONFIG: cannot open /nowhere.toml: No such file or directory\n");
}

// Reported: "there is no setting named bench.++", and control characters of a binary file on the terminal.
TEST_F(DenoiseTest, SettingsFileThatIsNoneIsSaid) {
  std::string path = folder_.Write("denoise.toml", "[bench]\nsteps = 9\n");
  EXPECT_EQ(Denoise({"7"}).err, "denoise: error: " + path +
                                    ": [bench]: sections have no meaning here; leave it out, as a setting is for all "
                                    "commands\n");
  folder_.Write("denoise.toml", "a\x1b[31m\x01 = 1\n");
  const ProgramResult binary = Denoise({"7"});
  EXPECT_EQ(binary.exit_code, 2);
  EXPECT_THAT(binary.err, HasSubstr("there is no setting named \"a\\x1b[31m\\x01\"; "));
}

// Reported: a wrong value of the file or the environment was blamed on a flag that nobody had typed.
TEST_F(DenoiseTest, WrongValuesAreBlamedOnTheirOrigin) {
  const std::string path = folder_.Write("denoise.toml", "seed = \"abc\"\n");
  EXPECT_EQ(Denoise({"7"}).err, "denoise: error: " + path +
                                    ": seed: must be a whole number in decimal digits, got abc\nSee denoise --help.\n");
  EXPECT_EQ(InShell("7", {"DENOISE_SEED=xyz"}).err,
            "denoise: error: DENOISE_SEED: must be a whole number in decimal digits, got xyz\nSee denoise --help.\n");
  EXPECT_EQ(Denoise({"7", "--seed=x"}).err,
            "denoise: error: --seed: must be a whole number in decimal digits, got x\nSee denoise --help.\n");
  folder_.Write("denoise.toml", "sampler = \"quick\"\n");
  EXPECT_EQ(Denoise({"7"}).err, "denoise: error: " + path +
                                    ": sampler: must be one of ddim, ddpm, dpm_solver_pp_2m, got quick\n"
                                    "See denoise --help.\n");
  folder_.Write("denoise.toml", "size = 5000\n");
  service_.behavior = [](grpc::ServerContext*, const v1::GenerateDigitRequest&, FakeService::Writer*) {
    return BadRequest("image.size", "must be 32 to 1024 pixels, got 5000");
  };
  const ProgramResult of_server = Denoise({"7"});
  EXPECT_EQ(of_server.exit_code, 2);
  EXPECT_EQ(of_server.err, "denoise: error: " + path + ": size: must be 32 to 1024 pixels, got 5000\n");
}

// Reported: a wrong DENOISE_TOKEN was called --token_file.
TEST_F(DenoiseTest, WrongTokenIsBlamedOnItsOrigin) {
  service_.behavior = [](grpc::ServerContext*, const v1::GenerateDigitRequest&, FakeService::Writer*) {
    return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "no such token");
  };
  const std::string says = ": the server at " + address_ + " says: no such token\n";
  EXPECT_EQ(InShell("7", {"DENOISE_TOKEN=secret"}).err, "denoise: error: DENOISE_TOKEN" + says);
  EXPECT_EQ(Denoise({"7"}).err, "denoise: error: --token_file" + says) << "which is what to use";
  const std::string token = folder_.Write("token", "secret");
  EXPECT_EQ(InShell("7", {"DENOISE_TOKEN_FILE=" + token}).err, "denoise: error: DENOISE_TOKEN_FILE" + says);
  const std::string path = folder_.Write("denoise.toml", "token = \"secret\"\n");
  chmod(path.c_str(), 0600);
  EXPECT_EQ(Denoise({"7"}).err, "denoise: error: " + path + ": token" + says);
}

// Reported: a mistyped variable was passed over.
TEST_F(DenoiseTest, UnknownVariablesAreToldOf) {
  const ProgramResult result = InShell("7", {"DENOISE_SEDE=42"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "denoise: warning: DENOISE_SEDE is no setting of denoise; did you mean DENOISE_SEED?\n");
  EXPECT_EQ(InShell("7", {"DENOISE_CONFIG=", "DENOISE_TOKEN=", "DENOISED_THREADS=1"}).err, "");
  EXPECT_EQ(InShell("7 --quiet", {"DENOISE_SEDE=42"}).err, "");
}

// Reported: `denoise helth` waited ten seconds for a server, and then spoke of nothing else.
TEST_F(DenoiseTest, MistypedSubcommandIsSuggested) {
  const ProgramResult nobody = Denoise({"helth", "--server=127.0.0.1:1"});
  EXPECT_EQ(nobody.exit_code, 1);
  EXPECT_THAT(nobody.err, MatchesRegex("denoise: error: cannot reach a server at 127.0.0.1:1; .*\n"
                                       "denoise: error: or did you mean `denoise health`\\?\n"));
  service_.behavior = [](grpc::ServerContext*, const v1::GenerateDigitRequest&, FakeService::Writer*) {
    return BadRequest("class_name", "must be one of \"cat\" and \"dog\", got \"wacth\"");
  };
  EXPECT_EQ(Denoise({"wacth"}).err,
            "denoise: error: --digit: must be one of \"cat\" and \"dog\", got \"wacth\"\n"
            "denoise: error: or did you mean `denoise watch`?\n");
  service_.behavior = &FakeService::DrawAll;
  EXPECT_EQ(Denoise({"bunch"}).err, "") << "there may be a class of that name";
}

// Reported: a folder of that name was found in the way when all was drawn.
TEST_F(DenoiseTest, FolderInTheWayOfAFileIsSaidBeforeAnythingIsDrawn) {
  std::filesystem::create_directory(folder_.File("digit-7.png"));
  const ProgramResult result = Denoise({"7"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, "denoise: error: cannot write digit-7.png: it is a folder; choose another with --out\n");
  EXPECT_THAT(service_.requests(), IsEmpty());
}

// Reported: "1 of 1 images were written; with --seed 42 --count 1 the same command draws them all".
TEST_F(DenoiseTest, NothingIsLeftToDrawWhereAllIsWritten) {
  const ProgramResult result = InShell("7 --json >/dev/full");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, "denoise: error: cannot write to standard output: No space left on device\n");
  EXPECT_THAT(Files(), ElementsAre("digit-7.png"));
}

TEST_F(DenoiseTest, WordsThatAreFlagsAreSuggested) {
  EXPECT_THAT(Denoise({"help", "--server=127.0.0.1:1"}).err,
              HasSubstr("\ndenoise: error: or did you mean `denoise --help`?\n"));
  EXPECT_THAT(Denoise({"model", "--server=127.0.0.1:1"}).err, HasSubstr("or did you mean `denoise --model`?\n"));
}

TEST_F(DenoiseTest, WatchAsksForAClassInItsOwnWords) {
  EXPECT_EQ(Denoise({"watch"}).err,
            "denoise: error: say which class to draw, by its number or its name, as in `denoise watch 7`\n");
}

// Reported: --size 0 drew 256 pixels.
TEST_F(DenoiseTest, NoPixelsAreNoSize) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"7", "--size=0"}, std::vector<std::string>{"--grid", "--size=0"}}) {
    const ProgramResult result = Denoise(arguments);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.err, "denoise: error: --size: must be 32 to 1024 pixels, got 0\n");
  }
}

// Reported: --out "" wrote digit-7.png, and dataset --out - made a folder named "-".
TEST_F(DenoiseTest, NamesOfNoFileAreRefused) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"7", "--out", ""}, "--out: the value is empty; leave the flag out for its default\nSee denoise --help."},
      {{"7", "--previews_dir", ""},
       "--previews_dir: the value is empty; leave the flag out for its default\nSee denoise --help."},
      {{"dataset", "--out", "-"}, "--out: a data set is several files, for which standard output is no place"},
  };
  for (const auto& [arguments, message] : cases) {
    const ProgramResult result = Denoise(arguments);
    EXPECT_EQ(result.exit_code, 2) << message;
    EXPECT_EQ(result.err, "denoise: error: " + message + "\n");
  }
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(DenoiseTest, ManualAndCompletionsAreItsOwn) {
  EXPECT_THAT(Denoise({"--print_manual"}).out, HasSubstr("\\fB\\-\\-sampler\\fR \\fIddim|ddpm|dpm_solver_pp_2m\\fR"));
  EXPECT_THAT(Denoise({"--print_manual"}).out, HasSubstr("\n\\fBdenoise\\fR [\\fIOPTION\\fR]... [\\fICLASS\\fR]\n"));
  EXPECT_THAT(Denoise({"--print_manual"}).out, HasSubstr("denoise watch 7 \\-\\-preview_kind clean"));
  EXPECT_THAT(Denoise({"--print_completions", "bash"}).out, HasSubstr("complete -o default -F _denoise denoise\n"));
}

// Reported: it showed none, though `denoise watch` alone is an error.
TEST_F(DenoiseTest, UsageShowsTheClassWhereOneIsTaken) {
  for (const char* subcommand : {"bench", "watch"}) {
    EXPECT_THAT(Denoise({subcommand, "--help"}).out,
                HasSubstr(absl::StrCat("Usage: denoise ", subcommand, " [OPTIONS] [CLASS]\n")));
    EXPECT_THAT(Denoise({"--print_manual"}).out,
                HasSubstr(absl::StrCat("\\fBdenoise ", subcommand, "\\fR [\\fIOPTION\\fR]... [\\fICLASS\\fR]\n")));
  }
  for (const char* subcommand : {"health", "dataset"}) {
    EXPECT_THAT(Denoise({subcommand, "--help"}).out,
                HasSubstr(absl::StrCat("Usage: denoise ", subcommand, " [OPTIONS]\n")));
  }
  EXPECT_EQ(Denoise({"bench", "7", "8"}).exit_code, 2) << "one class, as before";
}

// Reported: help of bench repeated the examples of drawing; none may be wider than a terminal.
TEST_F(DenoiseTest, HelpOfASubcommandHasExamplesOfItsOwn) {
  const std::string help = Denoise({"bench", "--help"}).out;
  EXPECT_THAT(help, HasSubstr("denoise bench --concurrency 1,8"));
  EXPECT_THAT(help, testing::Not(HasSubstr("denoise --grid --out")));
  for (const char* subcommand : {"bench", "watch", "dataset", "health"}) {
    EXPECT_THAT(Denoise({subcommand, "--help"}).out, HasSubstr("The flags of `denoise --help` apply, too"))
        << subcommand;
  }
  const std::string main_help = Denoise({"--help"}).out;
  EXPECT_THAT(main_help, HasSubstr("\n  --wait[=NUMBER], 0 to 86400 (Env:DENOISE_WAIT)\n"));
  EXPECT_THAT(main_help, HasSubstr("DENOISE_CONFIG"));
  EXPECT_THAT(main_help, HasSubstr("XDG_CONFIG_HOME"));
  EXPECT_THAT(main_help, HasSubstr("Exit status: 0 done, 1 an error"));
  const std::string all = help + main_help;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(all, '\n'))) {
    EXPECT_LE(line.size(), 80u) << line;
  }
}

TEST_F(DenoiseTest, TlsFileThatIsMissingIsSaid) {
  const ProgramResult result = Denoise({"7", "--tls_ca=nowhere.pem"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, "denoise: error: --tls_ca: cannot open nowhere.pem: No such file or directory\n");
}

}  // namespace
}  // namespace denoised
