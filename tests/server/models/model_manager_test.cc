#include "server/models/model_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/support/digest.h"
#include "tests/testing/puppet_engine.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Le;
using testing::SizeIs;

class Listener : public DrawListener {
 public:
  void OnPreview(const PreviewFrame&) override {}
  void OnImage(const FinishedImage&) override {}
  void OnDone(const absl::Status& status) override {
    status_ = status;
    done_.Notify();
  }
  absl::Status Await() {
    done_.WaitForNotification();
    return status_;
  }

 private:
  absl::Notification done_;
  absl::Status status_;
};

// Generations are puppets; the content of the file is their version.
class ModelManagerTest : public testing::Test {
 protected:
  void Start(ModelManagerOptions options = {}) {
    options.model.checkpoint = path_;
    manager_ = std::make_unique<ModelManager>(
        options,
        [this](const ServingModelOptions& wanted, SchedulerObserver* observer) { return Load(wanted, observer); },
        metrics_, [this](std::shared_ptr<ServingModel> model) { Publish(std::move(model)); });
    ASSERT_THAT(manager_->Start(), IsOk());
  }

  absl::StatusOr<std::shared_ptr<ServingModel>> Load(const ServingModelOptions& wanted, SchedulerObserver* observer) {
    {
      const absl::MutexLock lock(&mu_);
      const auto allowed = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return loads_allowed_ > 0; };
      ++loads_begun_;
      std::erase_if(generations_, [](const auto& generation) { return generation.expired(); });
      most_alive_ = std::max(most_alive_, generations_.size() + 1);
      mu_.Await(absl::Condition(&allowed));
      --loads_allowed_;
    }
    another_at_work_ = wanted.another_at_work;
    at_work_while_loading_ = *another_at_work_;
    const std::string content = Slurp(wanted.checkpoint);
    if (content == "corrupt") return absl::DataLossError("the file is damaged; copy it again");
    ModelInfo info;
    info.sha256 = Sha256Hex(content);
    absl::StatusOr<std::shared_ptr<ServingModel>> model = ServingModel::Start(
        info,
        [this]() -> absl::StatusOr<std::unique_ptr<Engine>> {
          auto engine = std::make_unique<PuppetEngine>(4);
          engine_ = engine.get();
          return engine;
        },
        {.max_batch_rows = 4,
         .max_queued_images = 4,
         .max_client_images = max_client_images_,
         .taken_places = wanted.taken_places},
        observer, wanted.beside.get());
    if (model.ok()) {
      const absl::MutexLock lock(&mu_);
      generations_.push_back(*model);
    }
    return model;
  }

  void Publish(std::shared_ptr<ServingModel> model) {
    const absl::MutexLock lock(&mu_);
    published_.push_back(model->info().sha256);
    serving_ = std::move(model);
  }

  absl::Status Reload() { return manager_->AwaitReload(manager_->RequestReload("the test")); }
  void Replace(const std::string& content) { std::filesystem::rename(folder_.Write("new", content), path_); }
  std::shared_ptr<ServingModel> serving() {
    const absl::MutexLock lock(&mu_);
    return serving_;
  }
  void HoldLoads() {
    const absl::MutexLock lock(&mu_);
    loads_allowed_ = 0;
  }
  void AllowLoads(int64_t loads) {
    const absl::MutexLock lock(&mu_);
    loads_allowed_ += loads;
  }
  void AwaitLoadsBegun(int loads) {
    const absl::MutexLock lock(&mu_);
    const auto begun = [this, loads]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return loads_begun_ >= loads; };
    mu_.Await(absl::Condition(&begun));
  }
  int loads_begun() {
    const absl::MutexLock lock(&mu_);
    return loads_begun_;
  }
  size_t most_alive() {
    const absl::MutexLock lock(&mu_);
    return most_alive_;
  }
  std::vector<std::string> published() {
    const absl::MutexLock lock(&mu_);
    return published_;
  }
  std::string Reloads(const std::string& result) {
    const std::string page = metrics_.Scrape();
    const std::string name = "\ndenoised_model_reloads_total{result=\"" + result + "\"} ";
    const size_t at = page.find(name) + name.size();
    return page.substr(at, page.find('\n', at) - at);
  }
  static DrawRequest OneImage(size_t steps) {
    DrawRequest request;
    request.plan = std::make_shared<const StepPlan>(steps);
    return request;
  }
  // One image of some steps, until it is over.
  absl::Status Draw(ServingModel& model, size_t steps = 1, uint64_t seed = 0) {
    const auto listener = std::make_shared<Listener>();
    DrawRequest request = OneImage(steps);
    request.seed = seed;
    const absl::StatusOr<Admission> admission = model.scheduler().Submit(request, listener);
    if (!admission.ok()) return admission.status();
    return listener->Await();
  }

  TempFolder folder_;
  const std::string path_ = folder_.Write("model.pt", "first");
  std::shared_ptr<const AnotherAtWork> another_at_work_;  // of the last load
  bool at_work_while_loading_ = false;                    // likewise
  std::atomic<PuppetEngine*> engine_ = nullptr;           // of the generation loaded last
  Metrics metrics_;
  int64_t max_client_images_ = 0;

  absl::Mutex mu_;
  int64_t loads_allowed_ ABSL_GUARDED_BY(mu_) = 1'000'000;
  int loads_begun_ ABSL_GUARDED_BY(mu_) = 0;
  size_t most_alive_ ABSL_GUARDED_BY(mu_) = 0;  // one that is being loaded included
  std::vector<std::weak_ptr<ServingModel>> generations_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> published_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<ServingModel> serving_ ABSL_GUARDED_BY(mu_);

  std::unique_ptr<ModelManager> manager_;  // NOTE: last, so that its thread ends first
};

// A reload's own measurement would take the cores from whoever draws, and find them busy.
TEST_F(ModelManagerTest, ReloadOfTheSameKindOfEngineTimesNoSteps) {
  Start();
  EXPECT_GT(engine_.load()->steps(), 10);
  ASSERT_THAT(Reload(), IsOk());
  EXPECT_EQ(engine_.load()->steps(), 1) << "whether it can step at all";
  EXPECT_EQ(serving()->scheduler().step_rows(), 4);
}

TEST_F(ModelManagerTest, NobodyTimesStepsWhileAnotherGenerationIsAtWork) {
  Start({.probation_time = std::chrono::milliseconds(0)});
  EXPECT_FALSE(at_work_while_loading_) << "there is no other one at the start";
  ASSERT_THAT(Reload(), IsOk());
  EXPECT_TRUE(at_work_while_loading_);
  while (*another_at_work_) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // until the old one is gone
  Replace("corrupt");
  EXPECT_THAT(Reload(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the file is damaged")));
  EXPECT_TRUE(at_work_while_loading_);
  while (*another_at_work_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST_F(ModelManagerTest, ReloadServesTheNewContent) {
  Start();
  Replace("second");
  ASSERT_THAT(Reload(), IsOk());
  EXPECT_THAT(published(), ElementsAre(Sha256Hex("first"), Sha256Hex("second")));
  EXPECT_EQ(Reloads("ok"), "1");
}

TEST_F(ModelManagerTest, FileThatCannotBeLoadedKeepsTheOldModel) {
  Start();
  Replace("corrupt");
  EXPECT_THAT(Reload(), StatusIs(absl::StatusCode::kDataLoss, "the file is damaged; copy it again"));
  EXPECT_THAT(published(), ElementsAre(Sha256Hex("first")));
  EXPECT_EQ(Reloads("error"), "1");
  EXPECT_THAT(manager_->live(), SizeIs(1));
}

// Whoever handles SIGHUP must be free for the SIGTERM that comes next.
TEST_F(ModelManagerTest, RequestReturnsWhileTheLoadRuns) {
  Start();
  HoldLoads();
  manager_->RequestReload("the test");
  AwaitLoadsBegun(2);
  EXPECT_THAT(published(), SizeIs(1));
  AllowLoads(1);
}

// Two triggers at one instant, and a storm of them, are one load and one more.
TEST_F(ModelManagerTest, RequestsDuringALoadShareOneMore) {
  Start();
  HoldLoads();
  const int64_t first = manager_->RequestReload("the test");
  AwaitLoadsBegun(2);
  const int64_t second = manager_->RequestReload("the test");
  for (int i = 0; i < 100; ++i) EXPECT_EQ(manager_->RequestReload("the test"), second);
  EXPECT_NE(first, second);
  AllowLoads(1'000'000);
  EXPECT_THAT(manager_->AwaitReload(second), IsOk());
  EXPECT_EQ(loads_begun(), 3);
}

TEST_F(ModelManagerTest, ReloadWaitsWhileCallsRunOnTheModelBeforeTheLast) {
  Start();
  std::shared_ptr<ServingModel> call = serving();
  ASSERT_THAT(Reload(), IsOk());
  const int64_t third = manager_->RequestReload("the test");
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // a load that did not wait would begin
  EXPECT_EQ(loads_begun(), 2);
  EXPECT_THAT(manager_->live(), SizeIs(2));
  call.reset();
  EXPECT_THAT(manager_->AwaitReload(third), IsOk());
  EXPECT_THAT(most_alive(), Le(2));
}

TEST_F(ModelManagerTest, RunningCallsKeepTheirModel) {
  Start();
  const std::shared_ptr<ServingModel> old = serving();
  engine_.load()->HoldSteps();
  const auto listener = std::make_shared<Listener>();
  const absl::StatusOr<Admission> admission = old->scheduler().Submit(OneImage(5), listener);
  ASSERT_THAT(admission, IsOk());
  PuppetEngine* const old_engine = engine_;
  ASSERT_THAT(Reload(), IsOk());
  EXPECT_THAT(manager_->live(), SizeIs(2));
  old_engine->LetGo();
  EXPECT_THAT(listener->Await(), IsOk());
}

TEST_F(ModelManagerTest, ImagesOfTheOldModelCountAgainstTheNewOnesQueue) {
  Start();
  const std::shared_ptr<ServingModel> old = serving();
  PuppetEngine* const old_engine = engine_;
  old_engine->HoldSteps();
  DrawRequest seven = OneImage(1);
  seven.count = 7;
  {
    const absl::StatusOr<Admission> admission = old->scheduler().Submit(seven, std::make_shared<Listener>());
    ASSERT_THAT(admission, IsOk());
    ASSERT_THAT(Reload(), IsOk());
    const auto refused = serving()->scheduler().Submit(seven, std::make_shared<Listener>());
    EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted,
                                  HasSubstr("take 7 of 8 places, and this request needs 7; try again in about ")));
    EXPECT_THAT(Draw(*serving()), IsOk()) << "one place is left";
    old_engine->LetGo();
  }
  while (!old->scheduler().idle()) std::this_thread::yield();
  EXPECT_THAT(Draw(*serving()), IsOk());
  EXPECT_THAT(serving()->scheduler().Submit(seven, std::make_shared<Listener>()), IsOk());
}

TEST_F(ModelManagerTest, OneClientsImagesCountInAllGenerations) {
  max_client_images_ = 3;
  Start();
  const std::shared_ptr<ServingModel> old = serving();
  PuppetEngine* const old_engine = engine_;
  old_engine->HoldSteps();
  DrawRequest three = OneImage(1);
  three.count = 3;
  three.client = "alice";
  const absl::StatusOr<Admission> admission = old->scheduler().Submit(three, std::make_shared<Listener>());
  ASSERT_THAT(admission, IsOk());
  ASSERT_THAT(Reload(), IsOk());
  DrawRequest one = OneImage(1);
  one.client = "alice";
  EXPECT_THAT(serving()->scheduler().Submit(one, std::make_shared<Listener>()),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "this client has enough here: its images take 3 of the 3 places that one client may have, and "
                       "this request needs 1; others still have room; try again in about 1 s"));
  one.client = "bob";
  EXPECT_THAT(serving()->scheduler().Submit(one, std::make_shared<Listener>()), IsOk());
  old_engine->LetGo();
}

TEST_F(ModelManagerTest, FirstStepsThatFailBringTheOldModelBack) {
  Start();
  Replace("second");
  ASSERT_THAT(Reload(), IsOk());
  engine_.load()->FailEveryStep(absl::InternalError("the puppet failed"));
  EXPECT_THAT(Draw(*serving()), StatusIs(absl::StatusCode::kInternal, HasSubstr("the puppet failed")));
  while (published().size() < 3) std::this_thread::yield();
  EXPECT_THAT(published(), ElementsAre(Sha256Hex("first"), Sha256Hex("second"), Sha256Hex("first")));
  EXPECT_THAT(Draw(*serving()), IsOk());
  while (Reloads("rolled_back") != "1") std::this_thread::yield();
}

// The supervisor may be the first to notice. What it asks for then is not the same file once more.
TEST_F(ModelManagerTest, NewModelThatIsTakenAwayBringsTheOldOneBack) {
  for (const bool hangs : {false, true}) {
    Replace("first");
    loads_begun_ = 0;
    Start({.probation_time = std::chrono::milliseconds(500)});
    Replace("second");
    ASSERT_THAT(Reload(), IsOk());
    PuppetEngine* const hanging = engine_;
    hanging->HoldSteps();
    const auto listener = std::make_shared<Listener>();
    absl::StatusOr<Admission> admission = serving()->scheduler().Submit(OneImage(1), listener);
    ASSERT_THAT(admission, IsOk());
    hanging->WaitForHeldStep();
    std::this_thread::sleep_for(std::chrono::seconds(1));  // a generation that has yet to make a step is not believed
    if (hangs) {
      manager_->Disown(serving());
    } else {
      manager_->Forget(serving());
    }
    EXPECT_THAT(Reload(), IsOk());
    EXPECT_EQ(serving()->info().sha256, Sha256Hex("first"));
    EXPECT_EQ(loads_begun(), 2);
    hanging->LetGo();
    EXPECT_THAT(listener->Await(), IsOk());
    admission = absl::CancelledError();  // its ticket knows the scheduler
    EXPECT_THAT(Draw(*serving()), IsOk());
    manager_.reset();
  }
}

// Whoever sends a request that makes steps fail just after a reload cannot undo it.
TEST_F(ModelManagerTest, RequestThatMakesStepsFailBringsNoModelBack) {
  Start({.probation_time = std::chrono::milliseconds(200)});
  Replace("second");
  ASSERT_THAT(Reload(), IsOk());
  engine_.load()->Poison(13);
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(Draw(*serving(), 1, 13), StatusIs(absl::StatusCode::kInternal, "the puppet chokes on this row"));
  }
  while (manager_->live().size() > 1) std::this_thread::yield();  // the old one has been let go
  EXPECT_THAT(published(), ElementsAre(Sha256Hex("first"), Sha256Hex("second")));
  EXPECT_EQ(Reloads("rolled_back"), "0");
}

TEST_F(ModelManagerTest, ModelThatMakesNothingFiniteBringsTheOldOneBack) {
  Start();
  Replace("second");
  ASSERT_THAT(Reload(), IsOk());
  engine_.load()->MakeNothingFinite();
  EXPECT_THAT(Draw(*serving()), StatusIs(absl::StatusCode::kInternal, HasSubstr("is not made of finite numbers")));
  while (published().size() < 3) std::this_thread::yield();
  EXPECT_THAT(published(), ElementsAre(Sha256Hex("first"), Sha256Hex("second"), Sha256Hex("first")));
}

TEST_F(ModelManagerTest, ModelThatHasProvedItselfStaysWhenAStepFailsLater) {
  Start({.probation_steps = 3});
  Replace("second");
  ASSERT_THAT(Reload(), IsOk());
  EXPECT_THAT(Draw(*serving(), 5), IsOk());
  while (manager_->live().size() > 1) std::this_thread::yield();  // the old one has been let go
  engine_.load()->FailNextStep(absl::InternalError("the puppet failed"));
  EXPECT_FALSE(Draw(*serving()).ok());
  EXPECT_EQ(serving()->info().sha256, Sha256Hex("second"));
}

TEST_F(ModelManagerTest, IdleModelIsBelievedAfterAWhile) {
  Start({.probation_time = std::chrono::milliseconds(1)});
  ASSERT_THAT(Reload(), IsOk());
  while (manager_->live().size() > 1) std::this_thread::yield();
  EXPECT_EQ(Reloads("rolled_back"), "0");
}

TEST_F(ModelManagerTest, LoadThatEndsAfterStopIsNotServed) {
  Start();
  HoldLoads();
  const int64_t load = manager_->RequestReload("the test");
  AwaitLoadsBegun(2);
  manager_->Stop();
  EXPECT_THAT(manager_->AwaitReload(load), StatusIs(absl::StatusCode::kCancelled, "the server is stopping"));
  AllowLoads(1);
  manager_.reset();
  EXPECT_THAT(published(), ElementsAre(Sha256Hex("first")));
}

TEST_F(ModelManagerTest, ReloadAskedForAfterStopIsNone) {
  Start();
  ASSERT_THAT(Reload(), IsOk());
  manager_->Stop();
  const int64_t load = manager_->RequestReload("the test");
  EXPECT_THAT(manager_->AwaitReload(load), StatusIs(absl::StatusCode::kCancelled, "the server is stopping"));
}

TEST_F(ModelManagerTest, GenerationThatHangsIsInNobodysWay) {
  Start();
  PuppetEngine* const hanging = engine_;
  hanging->HoldSteps();
  const auto listener = std::make_shared<Listener>();
  absl::StatusOr<Admission> admission = serving()->scheduler().Submit(OneImage(1), listener);
  ASSERT_THAT(admission, IsOk());
  hanging->WaitForHeldStep();
  manager_->Disown(serving());
  EXPECT_THAT(manager_->live(), testing::IsEmpty());
  ASSERT_THAT(Reload(), IsOk());
  ASSERT_THAT(Reload(), IsOk()) << "which would wait for it otherwise";
  EXPECT_THAT(Draw(*serving()), IsOk());
  hanging->LetGo();
  EXPECT_THAT(listener->Await(), IsOk());
}

// Nobody is served meanwhile, and the process ends if it takes too long.
TEST_F(ModelManagerTest, LoadWaitsForNoCallsOnceTheModelThatServesIsLost) {
  Start();
  const std::shared_ptr<ServingModel> call = serving();  // which goes on
  ASSERT_THAT(Reload(), IsOk());
  const int64_t waiting = manager_->RequestReload("the test");
  manager_->Forget(serving());
  EXPECT_THAT(manager_->AwaitReload(waiting), IsOk());
  EXPECT_EQ(manager_->live().front(), serving());
  EXPECT_THAT(manager_->live(), Contains(call)) << "it is still watched, and drained";
  EXPECT_THAT(published(), SizeIs(3));
}

TEST_F(ModelManagerTest, ModelWhoseEngineFailsIsNeverGoneBackTo) {
  Start();
  std::shared_ptr<ServingModel> first = serving();
  Replace("second");
  ASSERT_THAT(Reload(), IsOk());
  manager_->Forget(first);
  first.reset();
  engine_.load()->FailEveryStep(absl::InternalError("the puppet failed"));
  EXPECT_FALSE(Draw(*serving()).ok());
  while (manager_->live().size() > 1) std::this_thread::yield();  // the probation is over
  EXPECT_THAT(published(), ElementsAre(Sha256Hex("first"), Sha256Hex("second")));
  EXPECT_EQ(Reloads("rolled_back"), "0");
}

TEST_F(ModelManagerTest, WatchedFileIsLoadedWhenItIsReplaced) {
  Start({.watch_interval = std::chrono::milliseconds(1)});
  Replace("second");
  while (published().size() < 2) std::this_thread::yield();
  EXPECT_THAT(published(), ElementsAre(Sha256Hex("first"), Sha256Hex("second")));
}

TEST_F(ModelManagerTest, WatchedFileThatCannotBeReadIsTriedOnce) {
  Start({.watch_interval = std::chrono::milliseconds(1)});
  std::filesystem::resize_file(folder_.Write("new", ""), uintmax_t{5} << 30);
  std::filesystem::rename(folder_.File("new"), path_);
  HoldLoads();
  AwaitLoadsBegun(2);
  Replace("corrupt");  // what the loader says of it
  AllowLoads(1'000'000);
  while (Reloads("error") != "1") std::this_thread::yield();
}

TEST_F(ModelManagerTest, WatchedFileThatIsCorruptIsToldOnce) {
  Start({.watch_interval = std::chrono::milliseconds(1)});
  Replace("corrupt");
  while (Reloads("error") != "1") std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // many looks
  EXPECT_EQ(Reloads("error"), "1");
  Replace("second");
  while (published().size() < 2) std::this_thread::yield();
}

}  // namespace
}  // namespace denoised
