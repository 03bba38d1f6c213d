#include "server/loading/faulty_engine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/support/status_macros.h"

namespace denoised {
namespace {

enum class Fault { kFail, kThrow, kHang, kPoison, kNan, kWrong, kOom };

// Engines of this process that could draw wrongly, so far.
std::atomic<uint64_t> engines = 0;

class FaultyEngine : public Engine {
 public:
  FaultyEngine(Fault fault, uint64_t where, std::unique_ptr<Engine> engine)
      : fault_(fault), where_(where), engine_(std::move(engine)) {}

  int num_slots() const override { return engine_->num_slots(); }
  int ComputedRows(int rows) const override { return engine_->ComputedRows(rows); }
  bool ChooseAgain(const std::function<bool()>& give_up) override { return engine_->ChooseAgain(give_up); }
  std::string Description() const override { return absl::StrCat(engine_->Description(), "; faulty on purpose"); }
  double network_seconds() const override { return engine_->network_seconds(); }
  int StepsDone(int slot) const override {
    return failed_ ? before_[static_cast<size_t>(slot)] : engine_->StepsDone(slot);
  }
  bool Finite(int slot) const override {
    const bool injected = fault_ == Fault::kNan && seeds_[static_cast<size_t>(slot)] == where_;
    return !injected && engine_->Finite(slot);
  }

  int StepsAtOnce(int network_rows) const override { return engine_->StepsAtOnce(network_rows); }
  absl::Status Step(absl::Span<const StepRow> rows) override {
    DENOISED_RETURN_IF_ERROR(BeFaulty(rows, 1));
    return engine_->Step(rows);
  }
  absl::Status Steps(absl::Span<const StepRow> rows, int count) override {
    DENOISED_RETURN_IF_ERROR(BeFaulty(rows, count));
    return engine_->Steps(rows, count);
  }

  void Prefetch(absl::Span<const WantedFrame> frames) override { engine_->Prefetch(frames); }
  absl::Status Read(int slot, FrameKind kind, absl::Span<float> pixels) override {
    DENOISED_RETURN_IF_ERROR(engine_->Read(slot, kind, pixels));
    if (fault_ == Fault::kWrong) std::reverse(pixels.begin(), pixels.end());
    return absl::OkStatus();
  }

 private:
  // Before so many steps of these rows.
  absl::Status BeFaulty(absl::Span<const StepRow> rows, int count) {
    if (rows.empty() || rows[0].plan->size() > 1) steps_ += static_cast<uint64_t>(count);  // others: tried at start
    before_.resize(static_cast<size_t>(num_slots()));
    seeds_.resize(static_cast<size_t>(num_slots()));
    for (const StepRow& row : rows) {
      before_[static_cast<size_t>(row.slot)] = row.step;
      seeds_[static_cast<size_t>(row.slot)] = row.seed;
    }
    const auto poisoned = [this](const StepRow& row) { return row.seed == where_; };
    const bool reached = steps_ >= where_;
    failed_ = fault_ == Fault::kThrow && reached;
    if (failed_) throw std::runtime_error("an exception that --inject_fault asked for");
    failed_ = (fault_ == Fault::kFail && reached) ||
              (fault_ == Fault::kPoison && std::any_of(rows.begin(), rows.end(), poisoned));
    if (failed_) return absl::InternalError("a fault that --inject_fault asked for");
    failed_ = fault_ == Fault::kOom && steps_ > 0 && NetworkRows(rows) > static_cast<int64_t>(where_);
    if (failed_) return absl::InternalError("the network failed: std::bad_alloc, which --inject_fault asked for");
    while (fault_ == Fault::kHang && reached) std::this_thread::sleep_for(std::chrono::hours(1));
    return absl::OkStatus();
  }

  const Fault fault_;
  const uint64_t where_;
  const std::unique_ptr<Engine> engine_;
  uint64_t steps_ = 0;
  bool failed_ = false;
  std::vector<int> before_;      // by slot: steps done before the last one
  std::vector<uint64_t> seeds_;  // by slot
};

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> InjectFault(const std::string& fault, FaultTime time,
                                                    std::unique_ptr<Engine> engine) {
  if (fault.empty()) return engine;
  const std::vector<std::string> parts = absl::StrSplit(fault, '@');
  const std::vector<std::string> kinds = {"fail", "throw", "hang", "poison", "nan", "wrong", "oom"};
  const auto kind = std::find(kinds.begin(), kinds.end(), parts[0]);
  uint64_t where = 0;
  if (parts.size() != 2 || kind == kinds.end() || !absl::SimpleAtoi(parts[1], &where)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--inject_fault must be fail@STEP, throw@STEP, hang@STEP, poison@SEED, nan@SEED, oom@ROWS or "
                     "wrong@ENGINES, got ",
                     fault));
  }
  const auto wanted = static_cast<Fault>(kind - kinds.begin());
  if ((wanted == Fault::kWrong) != (time == FaultTime::kSelfTest)) return engine;
  if (wanted == Fault::kWrong && ++engines > where) return engine;
  return std::make_unique<FaultyEngine>(wanted, where, std::move(engine));
}

}  // namespace denoised
