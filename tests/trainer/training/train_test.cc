#include "trainer/training/train.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/golden_reference.h"
#include "common/engine/self_test.h"
#include "common/image/image.h"
#include "common/image/png.h"
#include "common/support/digest.h"
#include "tests/testing/mnist_folder.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "trainer/data/held_out_split.h"
#include "trainer/data/mnist.h"
#include "trainer/records/event_file.h"
#include "trainer/training/validation.h"

namespace denoised {
namespace {

using testing::HasSubstr;

// Minutes become seconds: 64 images, a small network.
class TrainTest : public testing::Test {
 protected:
  TrainTest() {
    torch::jit::setGraphExecutorOptimize(false);  // which takes far longer than these few steps
    data_ = *LoadMnist(SmallMnistFolder(), Split::kTrain, {.verify_checksums = false});
    data_.labels.resize(64);
    data_.pixels.resize(64 * kModelPixels);
  }

  TrainingOptions Options(const std::string& out, int epochs) {
    TrainingOptions options = *DefaultTrainingOptions("compact");
    options.out = folder_.File(out);
    options.unet.channels = {8, 16, 16};
    options.unet.embedding_dim = 16;
    options.epochs = epochs;
    options.batch_size = 16;
    options.threads = 2;
    options.sample_every = 0;
    return options;
  }
  std::vector<double> Losses(const std::string& out) {
    std::vector<double> losses;
    for (const nlohmann::json& line : Log(out)) losses.push_back(line["loss"]);
    return losses;
  }
  std::vector<nlohmann::json> Log(const std::string& out) {
    std::istringstream lines(Slurp(folder_.File(out + "/log.jsonl")));
    std::vector<nlohmann::json> log;
    for (std::string line; std::getline(lines, line);) log.push_back(nlohmann::json::parse(line));
    return log;
  }

  std::vector<at::Tensor> Parameters(const std::string& checkpoint) {
    std::vector<at::Tensor> parameters;
    for (const at::Tensor& parameter : LoadCheckpoint(folder_.File(checkpoint))->unet.parameters()) {
      parameters.push_back(parameter);
    }
    return parameters;
  }

  TempFolder folder_;
  Dataset data_;
};

TEST_F(TrainTest, LearnsAndWritesCheckpointsThatLoad) {
  TrainingOptions options = Options("run", 12);
  options.learning_rate = 5e-3;
  options.cosine = false;
  options.warmup_steps = 0;
  options.ema_decay = 0;
  const absl::StatusOr<TrainingSummary> summary = Train(data_, options);
  ASSERT_THAT(summary, IsOk());
  EXPECT_EQ(summary->epochs, 12);
  EXPECT_EQ(summary->images_seen, 12 * 64);
  EXPECT_TRUE(std::filesystem::exists(folder_.File("run/loss.png")));
  EXPECT_EQ(summary->checkpoint, folder_.File("run/best.pt"));
  const std::vector<nlohmann::json> log = Log("run");
  ASSERT_EQ(log.size(), 12u);
  EXPECT_LT(log.back()["loss"].get<double>(), log.front()["loss"].get<double>() * 0.8) << "it must learn";
  for (const char* file : {"run/best.pt", "run/last.pt"}) {
    const absl::StatusOr<Checkpoint> checkpoint = LoadCheckpoint(folder_.File(file));
    ASSERT_THAT(checkpoint, IsOk());
    EXPECT_EQ(checkpoint->metadata.unet, options.unet);
    EXPECT_EQ(checkpoint->metadata.null_label, 10);
    EXPECT_EQ(checkpoint->metadata.training.data_sha256, data_.sha256);
  }
}

TEST_F(TrainTest, OtherClassesThanDigitsAreLearntAndNamed) {
  for (uint8_t& label : data_.labels) label = static_cast<uint8_t>(label % 3);
  data_.class_names = {"ant", "bee", "cat"};
  ASSERT_THAT(Train(data_, Options("run", 1)), IsOk());
  const absl::StatusOr<Checkpoint> checkpoint = LoadCheckpoint(folder_.File("run/best.pt"));
  ASSERT_THAT(checkpoint, IsOk());
  const ModelMetadata& metadata = checkpoint->metadata;
  EXPECT_THAT(metadata.class_names, testing::ElementsAre("ant", "bee", "cat"));
  EXPECT_EQ(metadata.null_label, 3);
  EXPECT_EQ(metadata.unet.num_labels, 4);
  EXPECT_THAT(metadata.training.flags, testing::Contains(testing::Pair("--class_names", "ant,bee,cat")));

  TrainingOptions next = Options("next", 1);
  next.init = folder_.File("run/best.pt");
  EXPECT_THAT(Train(data_, next), IsOk());
  data_.class_names = NumbersAsNames(5);
  next.out = folder_.File("other");
  EXPECT_THAT(
      Train(data_, next),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               "--init " + next.init +
                   " draws other classes than --data has: \"ant\", \"bee\" and \"cat\" in the place of \"0\", \"1\", "
                   "\"2\", \"3\" and \"4\"; "
                   "begin with random weights, or give it its own data"));
}

// Learnt, written, read, and drawn by each engine as LibTorch's interpreter draws.
TEST_F(TrainTest, DeeperNetworksAreLearntAndServed) {
  TrainingOptions options = Options("run", 2);
  options.unet.channels = {32, 32, 32};  // which all engines take
  options.unet.blocks = {2, 1, 3};
  options.learning_rate = 0.01;
  options.warmup_steps = 0;
  ASSERT_THAT(Train(data_, options), IsOk());
  const absl::StatusOr<Checkpoint> checkpoint = LoadCheckpoint(folder_.File("run/best.pt"));
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_EQ(checkpoint->metadata.unet, ForClasses(options, data_.class_names).unet);
  const absl::StatusOr<GoldenReference> reference = DrawCheckedReference(*checkpoint);
  ASSERT_THAT(reference, IsOk());
  const EngineOptions engines[] = {{.device = "cpu", .precision = Precision::kFp32},
                                   {.device = "cpu", .path = EnginePath::kTorchScript},
                                   {.device = "emulated-cuda"}};
  for (const EngineOptions& engine : engines) {
    EXPECT_THAT(MakeCheckedEngine(Plain(*checkpoint), *reference, engine), IsOk()) << CandidateName(engine);
  }
}

TEST_F(TrainTest, ArchitecturesWithoutANullLabelStayWithoutOne) {
  const TrainingOptions seed = ForClasses(*DefaultTrainingOptions("seed"), {"ant", "bee"});
  EXPECT_EQ(seed.unet.num_labels, 2);
  EXPECT_EQ(NullLabel(seed), std::nullopt);
  const TrainingOptions compact = ForClasses(*DefaultTrainingOptions("compact"), {"ant", "bee"});
  EXPECT_EQ(compact.unet.num_labels, 3);
  EXPECT_EQ(NullLabel(compact), 2);
}

TEST_F(TrainTest, EveryPredictionAndWeightingLearns) {
  for (const PredictionType prediction : {PredictionType::kEpsilon, PredictionType::kVPrediction}) {
    for (const double gamma : {0.0, 5.0}) {
      const std::string name = absl::StrCat(PredictionTypeName(prediction), "-", gamma);
      TrainingOptions options = Options(name, 12);
      options.schedule.prediction_type = prediction;
      options.schedule.beta_schedule = "squaredcos_cap_v2";
      options.min_snr_gamma = gamma;
      options.learning_rate = 5e-3;
      options.cosine = false;
      options.warmup_steps = 0;
      ASSERT_THAT(Train(data_, options), IsOk()) << name;
      const std::vector<nlohmann::json> log = Log(name);
      EXPECT_LT(log.back()["loss"].get<double>(), log.front()["loss"].get<double>() * 0.9) << name;
      EXPECT_EQ(LoadCheckpoint(folder_.File(name + "/best.pt"))->metadata.noise_schedule, options.schedule);
    }
  }
}

TEST_F(TrainTest, BeginsWithTheWeightsOfACheckpoint) {
  ASSERT_THAT(Train(data_, Options("first", 2)), IsOk());
  TrainingOptions options = Options("second", 1);
  options.init = folder_.File("first/last.pt");
  options.learning_rate = 1e-12;
  options.ema_decay = 0;
  ASSERT_THAT(Train(data_, options), IsOk());
  const std::vector<at::Tensor> before = Parameters("first/last.pt"), after = Parameters("second/last.pt");
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(torch::allclose(before[i], after[i], 1e-6, 1e-8));

  TrainingOptions resumed = options;  // of another beginning
  resumed.init = "";
  resumed.resume = true;
  EXPECT_THAT(Train(data_, resumed), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--init")));
}

TEST_F(TrainTest, CannotBeginWithAnotherKindOfNetwork) {
  ASSERT_THAT(Train(data_, Options("first", 1)), IsOk());
  TrainingOptions options = Options("second", 1);
  options.init = folder_.File("first/last.pt");
  const auto refused =
      StatusIs(absl::StatusCode::kFailedPrecondition,
               "--init " + options.init +
                   " is another kind of network than this run's: give the --arch, --channels, --blocks, "
                   "--prediction_type and --beta_schedule that it was trained with; each of --channels may be a "
                   "multiple of its own, and --blocks more than its own");
  options.schedule.prediction_type = PredictionType::kVPrediction;
  EXPECT_THAT(Train(data_, options), refused);
  options = Options("second", 1);
  options.init = folder_.File("first/last.pt");
  options.unet.embedding_dim *= 2;
  EXPECT_THAT(Train(data_, options), refused);
  EXPECT_FALSE(std::filesystem::exists(folder_.File("second")));
  options.init = "none.pt";
  EXPECT_THAT(Train(data_, options), StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.pt")));
}

TEST_F(TrainTest, ModelGuidanceBetweenTimestepsIsChecked) {
  TrainingOptions options = Options("run", 1);
  options.model_guidance_below = 600;
  EXPECT_THAT(Train(data_, options),
              StatusIs(absl::StatusCode::kInvalidArgument, "--model_guidance_below needs a --model_guidance above 1"));
  options.model_guidance = 1.5;
  options.model_guidance_below = 1001;
  EXPECT_THAT(Train(data_, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--model_guidance_below must be 1 to 1000, or 0 for all timesteps, got 1001"));
  options.model_guidance_below = 600;
  options.model_guidance_from = 600;
  EXPECT_THAT(Train(data_, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--model_guidance_from must be 1 to 599, or 0 for all timesteps, got 600"));
  options.model_guidance = 1;
  options.model_guidance_below = 0;
  EXPECT_THAT(Train(data_, options),
              StatusIs(absl::StatusCode::kInvalidArgument, "--model_guidance_from needs a --model_guidance above 1"));
}

TEST_F(TrainTest, ModelGuidanceNeedsTheNullLabel) {
  TrainingOptions options = Options("run", 1);
  options.model_guidance = 1.5;
  options.label_dropout = 0;
  EXPECT_THAT(Train(data_, options), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("null label")));
  options.model_guidance = 0.5;
  EXPECT_THAT(Train(data_, options),
              StatusIs(absl::StatusCode::kInvalidArgument, "--model_guidance must be 1 (none) to 10, got 0.5"));
}

TEST_F(TrainTest, SameSeedGivesTheSameBytes) {
  ASSERT_THAT(Train(data_, Options("a", 2)), IsOk());
  ASSERT_THAT(Train(data_, Options("b", 2)), IsOk());
  TrainingOptions other = Options("c", 2);
  other.seed = 2;
  ASSERT_THAT(Train(data_, other), IsOk());
  EXPECT_TRUE(Slurp(folder_.File("a/last.pt")) == Slurp(folder_.File("b/last.pt")));
  EXPECT_NE(Slurp(folder_.File("a/last.pt")), Slurp(folder_.File("c/last.pt")));
}

TEST_F(TrainTest, StopsWhenItsPatienceRunsOut) {
  TrainingOptions options = Options("run", 50);
  options.learning_rate = 1e-12;  // nothing gets better, but by chance
  options.patience = 2;
  const absl::StatusOr<TrainingSummary> summary = Train(data_, options);
  ASSERT_THAT(summary, IsOk());
  EXPECT_TRUE(summary->stopped_early);
  EXPECT_LT(summary->epochs, 50);
}

TEST_F(TrainTest, ImagesHeldOutAreNotLearntFromAndChooseTheBest) {
  TrainingOptions options = Options("run", 3);
  options.validation_images = 16;
  options.learning_rate = 5e-3;
  options.warmup_steps = 0;
  const absl::StatusOr<TrainingSummary> summary = Train(data_, options);
  ASSERT_THAT(summary, IsOk());
  EXPECT_EQ(summary->images_seen, 3 * 48);
  const std::vector<nlohmann::json> log = Log("run");
  ASSERT_EQ(log.size(), 3u);
  double lowest = std::numeric_limits<double>::infinity();
  for (const nlohmann::json& epoch : log) {
    EXPECT_NE(epoch["validation_loss"], epoch["loss"]);
    lowest = std::min(lowest, epoch["validation_loss"].get<double>());
    EXPECT_EQ(epoch["best_loss"], lowest);
  }
  EXPECT_EQ(summary->best_loss, lowest);
  const absl::StatusOr<Checkpoint> best = LoadCheckpoint(folder_.File("run/best.pt"));
  ASSERT_THAT(best, IsOk());
  EXPECT_EQ(best->metadata.training.best_loss, lowest);
  // The loss in the log is that of the weights in the file.
  const SplitIndices split = *HeldOutSplit(data_.labels, 16);
  const Dataset held_out = Subset(data_, split.held_out);
  Validation validation(held_out, *NoiseSchedule::Create(options.schedule), {.null_label = 10});
  EXPECT_EQ(validation.Loss(best->unet), lowest);

  options.out = folder_.File("run");
  options.resume = true;
  options.validation_images = 0;
  EXPECT_THAT(Train(data_, options),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("belongs to a run with --validation_images 16, not 0; resume")));
}

TEST_F(TrainTest, StoppedWithImagesHeldOutItGoesOnAsIfNothingHadHappened) {
  TrainingOptions whole = Options("whole", 2), parts = Options("parts", 2);
  for (TrainingOptions* options : {&whole, &parts}) options->validation_images = 16;
  ASSERT_THAT(Train(data_, whole), IsOk());
  int steps = 0;
  parts.stop_requested = [&steps] { return ++steps == 4; };  // of three in an epoch
  ASSERT_THAT(Train(data_, parts), IsOk());
  parts.stop_requested = nullptr;
  parts.resume = true;
  ASSERT_THAT(Train(data_, parts), IsOk());
  for (const char* file : {"/last.pt", "/best.pt"}) EXPECT_TRUE(Slurp(parts.out + file) == Slurp(whole.out + file));
}

TEST_F(TrainTest, EachStepIsLoggedOnceHoweverTheRunEnded) {
  TrainingOptions options = Options("run", 3);
  int steps = 0;
  options.stop_requested = [&steps] { return ++steps == 6; };
  options.change_batch = [](int epoch, int64_t batch, TrainingBatch& rows) {
    if (epoch == 0 && batch == 2) rows.x.fill_(std::numeric_limits<float>::quiet_NaN());
  };
  ASSERT_THAT(Train(data_, options), IsOk());
  folder_.Write("run/steps.csv", Slurp(folder_.File("run/steps.csv")) + "6,2,3,0.5,1,1,1\n");  // after the last save
  options.stop_requested = nullptr;
  options.resume = true;
  ASSERT_THAT(Train(data_, options), IsOk());
  std::istringstream lines(Slurp(folder_.File("run/steps.jsonl")));
  std::vector<std::vector<int>> places;
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json step = nlohmann::json::parse(line);
    places.push_back({step["step"], step["epoch"], step["batch"]});
    EXPECT_GT(step["loss"], 0);
    EXPECT_GT(step["gradient_norm"], 0);
    EXPECT_GT(step["images_per_second"], 0);
  }
  const std::vector<std::vector<int>> expected = {{1, 1, 1}, {2, 1, 2}, {3, 1, 4}, {4, 2, 1},  {5, 2, 2}, {6, 2, 3},
                                                  {7, 2, 4}, {8, 3, 1}, {9, 3, 2}, {10, 3, 3}, {11, 3, 4}};
  EXPECT_EQ(places, expected);
  const std::string csv = Slurp(folder_.File("run/steps.csv"));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 11);
  const std::string events = Slurp(folder_.File("run/events.out.tfevents.denoise-train"));
  EXPECT_EQ(BytesUpToStep(events, 11), events.size());
  EXPECT_LT(BytesUpToStep(events, 10), events.size());
}

TEST_F(TrainTest, StepsAreNotLoggedWhereNobodyWantsThem) {
  TrainingOptions options = Options("run", 1);
  options.step_log = false;
  ASSERT_THAT(Train(data_, options), IsOk());
  EXPECT_FALSE(std::filesystem::exists(folder_.File("run/steps.jsonl")));
}

TEST_F(TrainTest, StepsAreCountedWhereTheyAreLimited) {
  TrainingOptions options = Options("run", 10);
  options.max_steps = 6;
  const absl::StatusOr<TrainingSummary> summary = Train(data_, options);
  ASSERT_THAT(summary, IsOk());
  EXPECT_EQ(summary->epochs, 2) << "the second has two batches";
  EXPECT_EQ(summary->images_seen, 6 * 16);
  EXPECT_FALSE(summary->stopped_early);
  EXPECT_FALSE(summary->interrupted);
  const std::string steps = Slurp(folder_.File("run/steps.jsonl"));
  const auto last = nlohmann::json::parse(steps.substr(steps.rfind('\n', steps.size() - 2) + 1));
  EXPECT_EQ(last["step"], 6);
  EXPECT_EQ(Log("run")[1]["learning_rate"], last["learning_rate"]) << "of the epoch's last step";
  EXPECT_LT(last["learning_rate"].get<double>(), 0.2 * options.learning_rate) << "the cosine ends with the last step";
  options.max_steps = 7;
  options.resume = true;
  EXPECT_THAT(Train(data_, options), StatusIs(absl::StatusCode::kFailedPrecondition,
                                              HasSubstr("belongs to a run with --max_steps 6, not 7; resume")));
}

// Stopped when all steps were taken and the epoch had yet to be ended.
TEST_F(TrainTest, RunThatIsStoppedAfterItsLastStepIsFinishedByResuming) {
  TrainingOptions options = Options("whole", 10);
  options.max_steps = 6;
  ASSERT_THAT(Train(data_, options), IsOk());
  options.out = folder_.File("stopped");
  int steps = 0;
  options.stop_requested = [&steps] { return ++steps == 6; };
  ASSERT_THAT(Train(data_, options), IsOk());
  options.stop_requested = nullptr;
  options.resume = true;
  const absl::StatusOr<TrainingSummary> resumed = Train(data_, options);
  ASSERT_THAT(resumed, IsOk());
  EXPECT_EQ(resumed->epochs, 2);
  EXPECT_EQ(Slurp(folder_.File("stopped/best.pt")), Slurp(folder_.File("whole/best.pt")));
  EXPECT_EQ(Slurp(folder_.File("stopped/last.pt")), Slurp(folder_.File("whole/last.pt")));
}

TEST_F(TrainTest, AccumulatedBatchesLearnAsOneThatIsAsLarge) {
  TrainingOptions large = Options("large", 2), accumulated = Options("accumulated", 2);
  large.batch_size = 32;
  accumulated.accumulate = 2;
  ASSERT_THAT(Train(data_, large), IsOk());
  ASSERT_THAT(Train(data_, accumulated), IsOk());
  for (int epoch = 0; epoch < 2; ++epoch) EXPECT_NEAR(Losses("accumulated")[epoch], Losses("large")[epoch], 1e-5);
  EXPECT_EQ(Log("accumulated")[1]["images_seen"], 128);
}

TEST_F(TrainTest, LastBatchOfAnEpochIsKeptAndCounted) {
  TrainingOptions options = Options("run", 2);
  options.batch_size = 24;
  options.keep_last_batch = true;
  const absl::StatusOr<TrainingSummary> summary = Train(data_, options);
  ASSERT_THAT(summary, IsOk());
  EXPECT_EQ(summary->images_seen, 2 * 64);
  const std::string csv = Slurp(folder_.File("run/steps.csv"));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 2 * 3);
}

TEST_F(TrainTest, DrawsASampleGrid) {
  TrainingOptions options = Options("run", 1);
  options.sample_every = 1;
  ASSERT_THAT(Train(data_, options), IsOk());
  const absl::StatusOr<GreyImage> grid = DecodePng(Slurp(folder_.File("run/samples.png")));
  ASSERT_THAT(grid, IsOk());
  EXPECT_GT(grid->width, 10 * kModelSize);
  EXPECT_GT(grid->height, 4 * kModelSize);
}

TEST_F(TrainTest, LossThatIsNotFiniteEndsTheRunAndKeepsTheLastGoodCheckpoint) {
  TrainingOptions options = Options("run", 3);
  options.batch_size = 64;  // one step per epoch: the first epoch's loss is that of the untouched network
  options.learning_rate = 1e30;
  options.clip_norm = 0;
  options.cosine = false;
  options.warmup_steps = 0;
  EXPECT_THAT(Train(data_, options),
              StatusIs(absl::StatusCode::kAborted,
                       "no batch of epoch 2 had a finite loss and gradient. The files in " + options.out +
                           "/ are from before. Begin a new run with a lower --learning_rate; if the machine was at "
                           "fault, --resume"));
  const absl::StatusOr<Checkpoint> best = LoadCheckpoint(folder_.File("run/best.pt"));
  ASSERT_THAT(best, IsOk());
  EXPECT_EQ(best->metadata.training.epochs, 1);
}

TEST_F(TrainTest, BatchWithoutAFiniteLossIsNamedLeftOutAndCounted) {
  TrainingOptions options = Options("run", 2);
  options.change_batch = [](int epoch, int64_t batch, TrainingBatch& rows) {
    if (epoch == 1 && batch == 2) rows.x.fill_(std::numeric_limits<float>::quiet_NaN());
    if (epoch == 1 && batch == 3) rows.weight.fill_(std::numeric_limits<float>::max());
  };
  testing::internal::CaptureStderr();
  const absl::StatusOr<TrainingSummary> summary = Train(data_, options);
  const std::string said = testing::internal::GetCapturedStderr();
  ASSERT_THAT(summary, IsOk());
  EXPECT_THAT(said, HasSubstr("batch 3 of 4 in epoch 2 is left out: the loss is nan\n"));
  EXPECT_THAT(said, HasSubstr("batch 4 of 4 in epoch 2 is left out: the gradient's norm is inf\n"));
  EXPECT_EQ(summary->images_seen, 64 + 32);
  const std::vector<nlohmann::json> log = Log("run");
  EXPECT_EQ(log[0]["bad_batches"], 0);
  EXPECT_EQ(log[1]["bad_batches"], 2);
  EXPECT_TRUE(log[1]["loss"].is_number());
  EXPECT_THAT(LoadCheckpoint(folder_.File("run/last.pt")), IsOk());
}

// The weights after the last good batch are not known to be any good.
TEST_F(TrainTest, EpochThatEndsInBadBatchesIsNotTheBest) {
  TrainingOptions options = Options("run", 2);
  options.learning_rate = 5e-3;
  options.warmup_steps = 0;
  options.change_batch = [](int epoch, int64_t batch, TrainingBatch& rows) {
    if (epoch == 1 && batch == 3) rows.x.fill_(std::numeric_limits<float>::quiet_NaN());
  };
  const absl::StatusOr<TrainingSummary> summary = Train(data_, options);
  ASSERT_THAT(summary, IsOk());
  const std::vector<double> losses = Losses("run");
  ASSERT_LT(losses[1], losses[0]);
  EXPECT_EQ(summary->best_epoch, 1);
}

// The state could never be read again: JSON has no infinity.
TEST_F(TrainTest, RunWhoseFirstEpochEndsInABadBatchGoesOn) {
  TrainingOptions options = Options("run", 1);
  options.cosine = false;
  options.change_batch = [](int epoch, int64_t batch, TrainingBatch& rows) {
    if (epoch == 0 && batch == 3) rows.x.fill_(std::numeric_limits<float>::quiet_NaN());
  };
  const absl::StatusOr<TrainingSummary> first = Train(data_, options);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(first->best_epoch, 0);
  EXPECT_EQ(first->checkpoint, folder_.File("run/last.pt")) << "there is no best one";
  EXPECT_EQ(LoadCheckpoint(first->checkpoint)->metadata.training.best_loss, Losses("run")[0]);
  options.epochs = 2;
  options.resume = true;
  const absl::StatusOr<TrainingSummary> second = Train(data_, options);
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->best_epoch, 2);
  EXPECT_EQ(second->checkpoint, folder_.File("run/best.pt"));
}

TEST_F(TrainTest, ClassOfWhichNothingIsLeftToLearnFromIsNamed) {
  for (uint8_t& label : data_.labels) label = 0;
  data_.labels[7] = 1;
  data_.class_names = {"many", "one"};
  TrainingOptions options = Options("run", 1);
  options.validation_images = 40;
  EXPECT_THAT(Train(data_, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--validation_images 40 would hold out all of class 1, \"one\", which has 1 image: hold out "
                       "fewer, or find more"));
  EXPECT_FALSE(std::filesystem::exists(options.out));
}

TEST_F(TrainTest, TooManyBadBatchesInARowEndTheRunWhichCanBeResumed) {
  TrainingOptions whole = Options("whole", 2);
  whole.max_bad_batches = 2;
  ASSERT_THAT(Train(data_, whole), IsOk());
  TrainingOptions options = Options("run", 2);
  options.max_bad_batches = 2;
  options.save_every_seconds = 1e-9;  // after every batch that may be saved
  options.change_batch = [](int epoch, int64_t batch, TrainingBatch& rows) {
    if (epoch == 1 && batch > 0) rows.x.fill_(std::numeric_limits<float>::infinity());
  };
  EXPECT_THAT(Train(data_, options),
              StatusIs(absl::StatusCode::kAborted,
                       "2 batches in a row had no finite loss and gradient, the last one batch 3 of 4 in epoch 2: the "
                       "loss is nan. The files in " +
                           options.out +
                           "/ are from before. Begin a new run with a lower --learning_rate; if the machine was at "
                           "fault, --resume"));
  EXPECT_EQ(Losses("run").size(), 1u);
  EXPECT_EQ(LoadCheckpoint(folder_.File("run/last.pt"))->metadata.training.epochs, 1);
  options.change_batch = nullptr;
  options.resume = true;
  ASSERT_THAT(Train(data_, options), IsOk());
  EXPECT_EQ(Losses("run"), Losses("whole"));
  EXPECT_TRUE(Slurp(folder_.File("run/last.pt")) == Slurp(folder_.File("whole/last.pt")));
}

TEST_F(TrainTest, WeightsBeyondFloat32ReachNoFile) {
  TrainingOptions options = Options("run", 2);
  options.batch_size = 64;
  options.learning_rate = 1e30;
  options.weight_decay = 3e8;  // their product is a float32 as yet; times a weight above 1.2 it is not
  options.warmup_steps = 0;
  EXPECT_THAT(Train(data_, options),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("step 1 made weights that are not finite numbers. The")));
  for (const char* file : {"run/last.pt", "run/best.pt", "run/log.jsonl"}) {
    EXPECT_FALSE(std::filesystem::exists(folder_.File(file))) << file;
  }
  options.resume = true;
  EXPECT_THAT(Train(data_, options), StatusIs(absl::StatusCode::kAborted, HasSubstr("step 1 made weights")))
      << "the state is that of the beginning";
}

TEST_F(TrainTest, FinishedRunIsNotOverwritten) {
  ASSERT_THAT(Train(data_, Options("run", 1)), IsOk());
  const std::string good = Slurp(folder_.File("run/best.pt"));
  EXPECT_THAT(Train(data_, Options("run", 1)),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       folder_.File("run/state.pt") +
                           " is there already: add --resume to go on with that run, or choose another --out"));
  EXPECT_EQ(Slurp(folder_.File("run/best.pt")), good);
}

TEST_F(TrainTest, StoppedInTheMiddleOfAnEpochItGoesOnAsIfNothingHadHappened) {
  ASSERT_THAT(Train(data_, Options("whole", 3)), IsOk());
  int steps = 0;
  TrainingOptions options = Options("parts", 3);
  options.stop_requested = [&steps] { return ++steps == 6; };  // of four in an epoch
  const absl::StatusOr<TrainingSummary> part = Train(data_, options);
  ASSERT_THAT(part, IsOk());
  EXPECT_TRUE(part->interrupted);
  EXPECT_EQ(part->epochs, 1);
  options.stop_requested = nullptr;
  options.resume = true;
  const absl::StatusOr<TrainingSummary> rest = Train(data_, options);
  ASSERT_THAT(rest, IsOk());
  EXPECT_FALSE(rest->interrupted);
  EXPECT_EQ(Losses("parts"), Losses("whole"));
  EXPECT_TRUE(Slurp(folder_.File("parts/last.pt")) == Slurp(folder_.File("whole/last.pt")));
}

TEST_F(TrainTest, StoppedInItsFirstEpochItLeavesACheckpointToServe) {
  TrainingOptions options = Options("run", 3);
  options.stop_requested = [] { return true; };
  const absl::StatusOr<TrainingSummary> summary = Train(data_, options);
  ASSERT_THAT(summary, IsOk());
  EXPECT_EQ(summary->checkpoint, options.out + "/last.pt");
  const absl::StatusOr<Checkpoint> last = LoadCheckpoint(summary->checkpoint);
  ASSERT_THAT(last, IsOk());
  EXPECT_EQ(last->metadata.training.epochs, 0);
  EXPECT_EQ(last->metadata.training.images_seen, 16);
  EXPECT_GT(last->metadata.training.best_loss, 0.5) << "that of the batch";
  EXPECT_FALSE(std::filesystem::exists(folder_.File("run/best.pt")));
}

TEST_F(TrainTest, NothingLearntYetLeavesNoCheckpoint) {
  TrainingOptions options = Options("run", 3);
  options.stop_requested = [] { return true; };
  options.change_batch = [](int, int64_t, TrainingBatch& rows) {
    rows.x.fill_(std::numeric_limits<float>::quiet_NaN());
  };
  const absl::StatusOr<TrainingSummary> summary = Train(data_, options);
  ASSERT_THAT(summary, IsOk());
  EXPECT_EQ(summary->checkpoint, "");
  EXPECT_FALSE(std::filesystem::exists(folder_.File("run/last.pt")));
}

TEST_F(TrainTest, CheckpointsWithinAnEpochChangeNothing) {
  ASSERT_THAT(Train(data_, Options("whole", 2)), IsOk());
  TrainingOptions options = Options("run", 2);
  options.checkpoint_every_seconds = 1e-9;
  int in_first_epoch = 0;
  options.stop_requested = [&] {
    const absl::StatusOr<Checkpoint> last = LoadCheckpoint(folder_.File("run/last.pt"));
    if (last.ok() && last->metadata.training.epochs == 0) ++in_first_epoch;
    return false;
  };
  ASSERT_THAT(Train(data_, options), IsOk());
  EXPECT_EQ(in_first_epoch, 3) << "of four batches; the last one's is that of the epoch's end";
  EXPECT_TRUE(Slurp(folder_.File("run/last.pt")) == Slurp(folder_.File("whole/last.pt")));
}

TEST_F(TrainTest, SaysEarlyHowLongItTakesAndWhereItGoesOn) {
  TrainingOptions options = Options("run", 6);
  options.report_every_seconds = 1e-9;
  testing::internal::CaptureStderr();
  ASSERT_THAT(Train(data_, options), IsOk());
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, testing::ContainsRegex("about [0-9]+ s to the end of epoch 6, at [0-9.]+ images/s; " + options.out +
                                           "/last.pt can be served in [0-9]+ s, or after Ctrl-C\n"));
  EXPECT_THAT(said, testing::ContainsRegex("\nepoch 2/6  50%  loss [0-9.]+  [0-9.]+ images/s  [0-9]+ s left\n"));
  options.resume = true;
  testing::internal::CaptureStderr();
  ASSERT_THAT(Train(data_, options), IsOk());
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::EndsWith("/run/\nnothing is left to do: the run is complete\n"));
}

// The epoch under way is timed over all parts of the run.
TEST_F(TrainTest, SpeedOfAnEpochThatWasStoppedAfterItsLastBatchIsThatOfItsBatches) {
  TrainingOptions options = Options("run", 1);
  int steps = 0;
  options.stop_requested = [&steps] { return ++steps == 4; };
  ASSERT_THAT(Train(data_, options), IsOk());
  ASSERT_FALSE(std::filesystem::exists(folder_.File("run/loss.png"))) << "the epoch is not finished";
  options.stop_requested = nullptr;
  options.resume = true;
  ASSERT_THAT(Train(data_, options), IsOk());
  const nlohmann::json epoch = Log("run").at(0);
  EXPECT_DOUBLE_EQ(epoch["images_per_second"].get<double>(), 64 / epoch["seconds"].get<double>());
}

TEST_F(TrainTest, PicturesAreNotCountedAsLearning) {
  TrainingOptions options = Options("run", 1);
  options.sample_every = 1;
  const absl::StatusOr<TrainingSummary> summary = Train(data_, options);
  ASSERT_THAT(summary, IsOk());
  EXPECT_GT(summary->other_seconds, 0);
  EXPECT_EQ(summary->seconds, Log("run")[0]["seconds"]) << "drawing came after the record";
}

TEST_F(TrainTest, HalfWrittenFilesOfAKilledRunAreRemoved) {
  std::filesystem::create_directory(folder_.File("run"));
  const std::string gone = std::to_string(std::numeric_limits<pid_t>::max());
  const std::string alive = std::to_string(getppid());
  for (const std::string& name : {"state.pt." + gone, "last.pt." + gone, "." + gone, "state.pt." + alive}) {
    folder_.Write("run/" + name + ".tmp", "x");
  }
  folder_.Write("run/notes." + gone + ".tmp", "mine");
  ASSERT_THAT(Train(data_, Options("run", 1)), IsOk());
  std::vector<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(folder_.File("run"))) {
    if (entry.path().extension() == ".tmp") left.push_back(entry.path().filename());
  }
  EXPECT_THAT(left, testing::UnorderedElementsAre("state.pt." + alive + ".tmp", "notes." + gone + ".tmp"));
}

TEST_F(TrainTest, LogOfAResumedRunHasEachEpochOnce) {
  ASSERT_THAT(Train(data_, Options("run", 1)), IsOk());
  folder_.Write("run/log.jsonl", "");  // as if killed between the state and the log
  TrainingOptions again = Options("run", 1);
  again.resume = true;
  ASSERT_THAT(Train(data_, again), IsOk());
  EXPECT_EQ(Losses("run").size(), 1u);
}

TEST_F(TrainTest, UnwritableFolderIsSaidBeforeTraining) {
  const std::string file = folder_.Write("file", "x");
  TrainingOptions options = Options("file/run", 1);
  const absl::Status status = Train(data_, options).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr(file));
  EXPECT_EQ(Slurp(file), "x");
}

TEST_F(TrainTest, ResumeNeedsAStateOfTheSameRecipe) {
  TrainingOptions options = Options("none", 1);
  options.resume = true;
  EXPECT_THAT(
      Train(data_, options),
      StatusIs(absl::StatusCode::kNotFound, "nothing to resume: " + folder_.File("none/state.pt") +
                                                " is not there or cannot be read; leave out --resume to begin a run"));
  EXPECT_FALSE(std::filesystem::exists(folder_.File("none")));
  ASSERT_THAT(Train(data_, Options("run", 1)), IsOk());
  const auto message = [this](const std::function<void(TrainingOptions&)>& change) {
    TrainingOptions other = Options("run", 2);
    other.resume = true;
    change(other);
    const absl::Status status = Train(data_, other).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    return std::string(status.message());
  };
  const std::string run = folder_.File("run/state.pt") + " belongs to a run with ";
  const std::string advice = "; resume with that run's flags, or name another --out";
  EXPECT_EQ(message([](auto& o) {
              o.unet.channels = {16, 16, 16};
            }),
            run + "--arch compact of 8-16-16 channels, not compact of 16-16-16 channels" + advice);
  EXPECT_EQ(message([](auto& o) {
              o.unet.blocks = {2, 1, 1};
            }),
            run + "--arch compact of 8-16-16 channels, not compact of 8-16-16 channels and 2-1-1 blocks" + advice);
  EXPECT_EQ(message([](auto& o) { o.schedule.prediction_type = PredictionType::kVPrediction; }),
            run + "--prediction_type epsilon, not v_prediction" + advice);
  EXPECT_EQ(message([](auto& o) { o.batch_size = 8; }), run + "--batch_size times processes 16, not 8" + advice);
  EXPECT_EQ(message([](auto& o) { o.seed = 5; }), run + "--seed 1, not 5" + advice);
  EXPECT_EQ(message([](auto& o) { o.threads = 3; }), run + "--threads 2, not 3, by which sums are rounded" + advice);
  EXPECT_EQ(message([](auto&) {}), run + "--epochs 1, not 2, where the cosine of its learning rate ends" + advice);
}

TEST_F(TrainTest, ResumeNeedsEachFlagOfTheRun) {
  data_.class_names = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
  ASSERT_THAT(Train(data_, Options("run", 1)), IsOk());
  data_.class_names = NumbersAsNames(10);
  TrainingOptions options = Options("run", 1);
  options.resume = true;
  EXPECT_THAT(Train(data_, options),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       folder_.File("run/state.pt") +
                           " belongs to a run with --class_names a,b,c,d,e,f,g,h,i,j, which this one lacks; resume "
                           "with that run's flags, or name another --out"));
}

TEST_F(TrainTest, RunWithoutACosineMayBeMadeLonger) {
  TrainingOptions options = Options("run", 1);
  options.cosine = false;
  ASSERT_THAT(Train(data_, options), IsOk());
  options.epochs = 2;
  options.resume = true;
  const absl::StatusOr<TrainingSummary> longer = Train(data_, options);
  ASSERT_THAT(longer, IsOk());
  EXPECT_EQ(longer->epochs, 2);
}

TEST_F(TrainTest, ResumedRunHasTheThreadsThatItBeganWith) {
  TrainingOptions options = Options("run", 1);
  options.threads = 3;
  ASSERT_THAT(Train(data_, options), IsOk());
  options.threads = 0;
  options.resume = true;
  EXPECT_THAT(Train(data_, options), IsOk());
}

TEST_F(TrainTest, CheckpointTellsWhereItCameFrom) {
  ASSERT_THAT(Train(data_, Options("first", 1)), IsOk());
  TrainingOptions options = Options("second", 2);
  options.init = folder_.File("first/best.pt");
  options.command = "--init first/best.pt";
  options.source_revision = "abc";
  options.release = true;
  options.stop_requested = [] { return true; };
  ASSERT_THAT(Train(data_, options), IsOk());
  options.stop_requested = nullptr;
  options.resume = true;
  options.command = "--init first/best.pt --resume";
  options.source_revision = "def";
  ASSERT_THAT(Train(data_, options), IsOk());
  const TrainingRecord record = LoadCheckpoint(folder_.File("second/best.pt"))->metadata.training;
  EXPECT_EQ(record.command, "--init first/best.pt");
  EXPECT_EQ(record.source_revision, "abc, def");
  EXPECT_EQ(record.init_sha256, Sha256Hex(Slurp(options.init)));
  const std::map<std::string, std::string> flags(record.flags.begin(), record.flags.end());
  EXPECT_EQ(flags.at("--epochs"), "2");
  EXPECT_EQ(flags.at("--threads"), "2");
  EXPECT_EQ(flags.at("--learning_rate"), "0.001");
  EXPECT_EQ(flags.at("--patience"), "15");
  EXPECT_EQ(flags.at("--init"), "a file of SHA-256 " + record.init_sha256);
  EXPECT_EQ(LoadCheckpoint(options.init)->metadata.training.init_sha256, "");
}

TEST_F(TrainTest, ReleaseNeedsCommittedSources) {
  const std::string advice = ": commit what has changed, build again in a clone with git, and begin the run anew";
  TrainingOptions options = Options("run", 1);
  options.release = true;
  options.source_revision = "abc-dirty";
  EXPECT_THAT(
      Train(data_, options),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               "--release needs sources that are in a commit, and this build is of revision abc-dirty" + advice));
  EXPECT_FALSE(std::filesystem::exists(options.out));
  options.source_revision = "unknown";
  EXPECT_THAT(Train(data_, options),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("this build is of revision unknown")));
  options.release = false;
  options.source_revision = "abc-dirty";
  ASSERT_THAT(Train(data_, options), IsOk());
  options.release = true;
  options.resume = true;
  options.source_revision = "abc";
  EXPECT_THAT(Train(data_, options),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "--release needs sources that are in a commit, and the run to resume is of revision abc-dirty, "
                       "abc" +
                           advice));
}

TEST_F(TrainTest, DamagedStateIsSaid) {
  std::filesystem::create_directory(folder_.File("run"));
  folder_.Write("run/state.pt", "junk");
  TrainingOptions damaged = Options("run", 2);
  damaged.resume = true;
  EXPECT_THAT(Train(data_, damaged),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("state.pt is damaged, or of another version")));
}

TEST_F(TrainTest, RangesAreSaid) {
  const auto message = [this](const std::function<void(TrainingOptions&)>& change) {
    TrainingOptions options = Options("run", 1);
    change(options);
    return std::string(Train(data_, options).status().message());
  };
  EXPECT_EQ(message([](auto& o) { o.epochs = 0; }), "--epochs must be at least 1, got 0");
  EXPECT_EQ(message([](auto& o) { o.precision = "bf16"; }),
            "--precision bf16 needs a CUDA device; use fp32 on the CPU");
  EXPECT_EQ(message([](auto& o) { o.device = "tpu"; }), "--device must be auto, cpu, cuda or cuda:N, got \"tpu\"");
}

}  // namespace
}  // namespace denoised
