// How denoised stops: processes, signals and exit statuses as an operator has them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "tests/end_to_end/served.h"
#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::HasSubstr;

// A client whose request has been admitted and whose first preview has come, so that it is in the middle of it.
class Drawing {
 public:
  Drawing(const Served& served, std::vector<std::string> arguments)
      : client_(Draw(served, WithPreviews(std::move(arguments))), {}, folder_.path()) {
    while (!std::filesystem::exists(folder_.File("frames/digit-7-00-step-0005.png"))) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  BackgroundProgram& client() { return client_; }

  int images() const {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.File("out"))) {
      count += entry.path().extension() == ".png" ? 1 : 0;
    }
    return count;
  }

 private:
  static std::vector<std::string> WithPreviews(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--previews_dir", "frames", "--preview_every", "5", "--out", "out/"});
    return arguments;
  }

  TempFolder folder_;
  BackgroundProgram client_;
};

// "A drain loses admitted work": the queue is far longer than what runs, and all of it is drawn.
TEST(DrainTest, SigtermFinishesTheWholeQueue) {
  Served served;
  Drawing drawing(served, {"--count=60", "--sampler=ddim"});
  served.server().Signal(SIGTERM);
  EXPECT_EQ(drawing.client().Wait(), 0) << drawing.client().err();
  EXPECT_EQ(drawing.images(), 60) << served.server().err();
  EXPECT_EQ(served.server().Wait(), 0);
  EXPECT_THAT(served.server().err(), testing::ContainsRegex("draining: 1 requests with [0-9]+ images left, which "
                                                            "should take [0-9]+ s; --drain_timeout gives them 300 s"));
  EXPECT_THAT(served.server().err(), HasSubstr("stopped; every request was finished"));
}

TEST(DrainTest, ExitStatusTellsThatRequestsWereDropped) {
  Served served({"--drain_timeout=0"});
  Drawing drawing(served, {"--count=60"});
  served.server().Signal(SIGTERM);
  EXPECT_EQ(served.server().Wait(), 3);
  EXPECT_NE(drawing.client().Wait(), 0);
  EXPECT_THAT(served.server().err(),
              testing::ContainsRegex("--drain_timeout is over: 1 requests are dropped, with [0-9]+ images"));
  EXPECT_THAT(served.server().err(), testing::ContainsRegex("stopped; 1 requests were dropped, with [0-9]+ images"));
}

TEST(DrainTest, SecondSignalEndsADrainAtOnce) {
  Served served;
  Drawing drawing(served, {"--count=60"});
  served.server().Signal(SIGTERM);
  served.server().AwaitLine("draining: ");
  served.server().Signal(SIGINT);
  EXPECT_EQ(served.server().Wait(), 128 + SIGINT);
  EXPECT_THAT(served.server().err(), HasSubstr("ended at once by a signal; what was under way is lost"));
}

TEST(DrainTest, SecondSignalEndsALameDuckAtOnce) {
  BackgroundProgram server({"denoised", "--lame_duck=3600", "--listen=127.0.0.1:0", "--metrics_listen=off"});
  server.AwaitLine("listening on ");
  server.Signal(SIGTERM);
  server.AwaitLine("SIGTERM: draining");
  server.Signal(SIGTERM);
  EXPECT_EQ(server.Wait(), 128 + SIGTERM);
}

// A pipe that nobody writes to: a checkpoint that never finishes loading.
TEST(DrainTest, SignalEndsAStartThatHangs) {
  const TempFolder folder;
  const std::string pipe = folder.File("model.pt");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  BackgroundProgram server({"denoised", "--checkpoint", pipe, "--listen=127.0.0.1:0", "--metrics_listen=off"});
  server.AwaitLine("loading " + pipe);
  server.Signal(SIGTERM);
  EXPECT_EQ(server.Wait(), 128 + SIGTERM);
}

}  // namespace
}  // namespace denoised
