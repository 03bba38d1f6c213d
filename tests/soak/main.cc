// A server under more load than it can bear, for a long time: scripts/soak.sh.
//
//   soak [MINUTES]
//
// Starts `denoised` and measures its capacity, and its goodput when ordinary clients ask for just that. Then they ask
// for 120 % of it for MINUTES (30), and on top come clients that leave, have deadlines of milliseconds, or do not read.
// A line is printed each minute. At the end capacity and goodput at 100 % are measured again, because machines drift,
// and compared. The exit status is 1 if anything is wrong.
//
// "useful" is the share of the denoising steps that were done whose images reached clients that asked for them: what
// overload costs apart from the machine's speed of the moment.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/calls/digit_client.h"
#include "client/calls/load_test.h"
#include "common/support/clock.h"
#include "common/support/digest.h"
#include "tests/end_to_end/served.h"
#include "tests/soak/soak_load.h"
#include "tests/soak/trend.h"
#include "tests/testing/process_figures.h"
#include "tests/testing/server_metrics.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

constexpr int kClients = 8;
constexpr int kStalledReaders = 4;
constexpr double kOverload = 1.2;
constexpr double kLeastGoodput = 0.9;     // of that at 100 %
constexpr double kMostRiseKib = 2 << 10;  // of memory, over the last two thirds
constexpr double kMostMore = 1;           // descriptors or threads, on average over the last third against the first

template <typename T>
T OrThrow(absl::StatusOr<T> value) {
  if (!value.ok()) throw std::runtime_error(std::string(value.status().message()));
  return *std::move(value);
}

std::string TokenOf(int client) { return absl::StrCat("token-of-client-", client); }

std::string TokensFile() {
  std::string lines;
  for (int i = 0; i <= kClients; ++i) absl::StrAppend(&lines, "client-", i, " ", Sha256Hex(TokenOf(i)), " draw\n");
  return lines;
}

void Print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

// What the server has counted.
struct Counts {
  double steps = 0;  // of images; none is guided here
  double wasted_steps = 0;

  static Counts Of(const ServerMetrics& metrics) {
    return {.steps = metrics.Get("denoised_batch_rows_sum"),
            .wasted_steps = metrics.Get("denoised_wasted_steps_total")};
  }
  Counts operator-(const Counts& earlier) const {
    return {.steps = steps - earlier.steps, .wasted_steps = wasted_steps - earlier.wasted_steps};
  }
};

double PerCent(double part, double whole) { return 100 * part / whole; }

// What a process takes, in the course of time.
struct Course {
  Trend resident_kib, descriptors, threads;

  void Add(double seconds, const ProcessFigures& figures) {
    resident_kib.Add(seconds, static_cast<double>(figures.resident_kib));
    descriptors.Add(seconds, static_cast<double>(figures.descriptors));
    threads.Add(seconds, static_cast<double>(figures.threads));
  }
};

// By how much the mean of the last third is above that of the middle one: the first one warms up.
double MoreAtTheEnd(const Trend& trend) {
  const Trend later = trend.Later(1.0 / 3);
  return 2 * (later.Later(0.5).mean() - later.mean());
}

class Soak {
 public:
  explicit Soak(double minutes)
      : minutes_(minutes),
        served_({"--tokens", folder_.Write("tokens", TokensFile())}),
        metrics_(std::atoi(PortOf(served_.server().AwaitLine("metrics on http://")).c_str())) {
    std::vector<DigitClient*> clients;
    for (int i = 1; i <= kClients; ++i) {
      Connection connection;
      connection.server = served_.address();
      connection.token = TokenOf(i);
      clients_.push_back(OrThrow(DigitClient::Connect(connection)));
      clients.push_back(clients_.back().get());
    }
    load_ = std::make_unique<SoakLoad>(clients, /*seed=*/1);
  }

  // Whether all was right.
  bool Run() {
    const double capacity = MeasureCapacity();
    const Tally before = MeasureGoodput(capacity);
    const Tally soaked = Overload(capacity);
    const Tally after = MeasureGoodput(MeasureCapacity());
    Judge(before, soaked, after);
    Print(right_ ? "Everything was as it should be.\n" : "Something was WRONG.\n");
    return right_;
  }

 private:
  static std::string PortOf(const std::string& address) { return address.substr(address.rfind(':') + 1); }

  std::chrono::nanoseconds Short() const { return Nanoseconds(std::min(40.0, 60 * minutes_ / 5)); }

  // Images a second, half of them of few steps, half of many.
  double MeasureCapacity() {
    const auto rate = [this](uint32_t steps) {
      LoadTestOptions options;
      options.seconds = Seconds(Short()) / 2;
      options.warmup_seconds = 0;
      const LevelResult result =
          OrThrow(RunLevel(*clients_[0], SoakRequest(steps), {.kind = LoadKind::kClosed, .value = 32}, options));
      return static_cast<double>(result.finished) / result.seconds;
    };
    const double few = rate(kFewSteps), many = rate(kManySteps);
    const double capacity = 2 / (1 / few + 1 / many);
    Print(absl::StrFormat("capacity: %.1f images/s of %d steps, %.1f of %d; %.1f of both alike\n", few, kFewSteps, many,
                          kManySteps, capacity));
    return capacity;
  }

  Tally MeasureGoodput(double capacity) {
    load_->Run({.images_per_second = capacity}, Short() / 4);  // until the queue is as it will be
    const Counts earlier = Counts::Of(metrics_);
    const Tally tally = load_->Run({.images_per_second = capacity}, Short());
    const Counts done = Counts::Of(metrics_) - earlier;
    load_->AwaitAnswers();
    Note(tally);
    Print(absl::StrFormat("goodput at 100 %%: %.2f images/s, %.0f image-steps/s, %.1f %% useful\n",
                          tally.images_per_second(), tally.steps_per_second(),
                          PerCent(static_cast<double>(tally.steps), done.steps)));
    return tally;
  }

  // Where a minute shows that the machine can bear more, the next one asks for more.
  Tally Overload(double capacity) {
    Print(
        absl::StrFormat("%g minutes of overload, and unruly clients\n%7s %8s %9s %8s %8s %8s %8s %8s %8s %8s %8s %8s\n",
                        minutes_, "minute", "asked/s", "images/s", "steps/s", "RSS KiB", "descr.", "threads", "refused",
                        "left", "late", "useful %", "waste %"));
    const StalledReaders stalled(served_.address(), TokenOf(0), kStalledReaders);
    const Counts earlier = Counts::Of(metrics_);
    Tally sum;
    double last = capacity;
    for (double minute = 0; minute < minutes_; ++minute) {
      const Tally tally = RunMinute(minute, std::min(1.0, minutes_ - minute), kOverload * std::max(capacity, last));
      last = tally.images_per_second();
      Add(tally, sum);
    }
    const Counts done = Counts::Of(metrics_) - earlier;
    load_->AwaitAnswers();
    useful_ = PerCent(static_cast<double>(sum.steps), done.steps);
    return sum;
  }

  // In parts of some seconds, after each of which the process is looked at.
  Tally RunMinute(double minute, double length, double images_per_second) {
    constexpr int kParts = 6;
    const Counts earlier = Counts::Of(metrics_);
    Tally tally;
    for (int part = 0; part < kParts; ++part) {
      Add(load_->Run({.images_per_second = images_per_second, .unruly = true}, Nanoseconds(60 * length / kParts)),
          tally);
      course_.Add(60 * minute + tally.seconds, FiguresOf(served_.server().pid()));
    }
    Note(tally);
    const Counts done = Counts::Of(metrics_) - earlier;
    const ProcessFigures figures = FiguresOf(served_.server().pid());
    Print(absl::StrFormat("%7.4g %8.1f %9.2f %8.0f %8d %8d %8d %8d %8d %8d %8.1f %8.1f\n", minute + length,
                          images_per_second, tally.images_per_second(), tally.steps_per_second(), figures.resident_kib,
                          figures.descriptors, figures.threads, tally.refused, tally.left, tally.late,
                          PerCent(static_cast<double>(tally.steps), done.steps),
                          PerCent(done.wasted_steps, done.steps)));
    return tally;
  }

  static void Add(const Tally& part, Tally& sum) {
    sum.seconds += part.seconds;
    sum.images += part.images;
    sum.steps += part.steps;
    sum.refused += part.refused;
    sum.left += part.left;
    sum.late += part.late;
    if (sum.failed == 0) sum.first_failure = part.first_failure;
    sum.failed += part.failed;
  }

  void Note(const Tally& tally) {
    if (tally.failed > 0) Wrong(absl::StrFormat("%d calls failed, the first: %s", tally.failed, tally.first_failure));
  }
  void Wrong(const std::string& what) {
    Print(absl::StrCat("  WRONG: ", what, "\n"));
    right_ = false;
  }

  void Judge(const Tally& before, const Tally& soaked, const Tally& after) {
    const double usual = (before.images_per_second() + after.images_per_second()) / 2;
    const double share = soaked.images_per_second() / usual;
    Print(
        absl::StrFormat("goodput at 120 %%: %.2f images/s, %.3f times that at 100 %% (%.2f before, %.2f after); %.0f "
                        "image-steps/s, %.1f %% useful; %d requests refused\n",
                        soaked.images_per_second(), share, before.images_per_second(), after.images_per_second(),
                        soaked.steps_per_second(), useful_, soaked.refused));
    if (!(share >= kLeastGoodput)) Wrong(absl::StrFormat("goodput is below %.2f times that at 100 %%", kLeastGoodput));
    const Trend memory = course_.resident_kib.Later(1.0 / 3);
    Print(absl::StrFormat("memory over the last two thirds: %+.0f KiB an hour, %+.0f KiB in all\n",
                          3600 * memory.slope(), memory.rise()));
    if (memory.rise() > kMostRiseKib) Wrong(absl::StrFormat("memory grew by more than %.0f KiB", kMostRiseKib));
    const double descriptors = MoreAtTheEnd(course_.descriptors), threads = MoreAtTheEnd(course_.threads);
    Print(
        absl::StrFormat("last third against the one before: %+.2f descriptors, %+.2f threads\n", descriptors, threads));
    if (descriptors > kMostMore) Wrong("descriptors were lost");
    if (threads > kMostMore) Wrong("threads were added");
  }

  const double minutes_;
  const TempFolder folder_;
  Served served_;
  const ServerMetrics metrics_;
  std::vector<std::unique_ptr<DigitClient>> clients_;
  std::unique_ptr<SoakLoad> load_;
  Course course_;
  double useful_ = 0;
  bool right_ = true;
};

int Run(int argc, char** argv) {
  double minutes = 30;
  if (argc > 2 || (argc == 2 && !absl::SimpleAtod(argv[1], &minutes)) || !(minutes > 0 && minutes < 1e4)) {
    std::fputs("usage: soak [MINUTES]    above 0\n", stderr);
    return 2;
  }
  try {
    return Soak(minutes).Run() ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "soak: %s\n", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) { return denoised::Run(argc, argv); }
