#include "common/engine/cpu/onednn_network.h"

#include <omp.h>

#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "common/engine/cpu/cpu_kernels.h"
#include "common/engine/cpu/onednn_compiler.h"
#include "common/engine/cpu/onednn_memory.h"
#include "common/engine/cpu/onednn_model.h"

namespace denoised {
namespace {

// While one lives, the calling thread's OpenMP teams, oneDNN's too, have so many threads.
class TeamSize {
 public:
  explicit TeamSize(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~TeamSize() { omp_set_num_threads(before_); }
  TeamSize(const TeamSize&) = delete;
  TeamSize& operator=(const TeamSize&) = delete;

 private:
  const int before_;
};

// While one lives, tiny numbers are zero in all threads of the calling thread's team. They need not have got that from
// the thread that started them: others may have used the team before, or use it afterwards.
class FlushingTeam {
 public:
  explicit FlushingTeam(int threads) : members_(static_cast<size_t>(threads)) {
    EachMember([](std::optional<FlushDenormals>& member) { member.emplace(); });
  }
  ~FlushingTeam() {
    EachMember([](std::optional<FlushDenormals>& member) { member.reset(); });
  }
  FlushingTeam(const FlushingTeam&) = delete;
  FlushingTeam& operator=(const FlushingTeam&) = delete;

 private:
  template <typename Work>
  void EachMember(Work work) {
    const int threads = static_cast<int>(members_.size());
#pragma omp parallel num_threads(threads) if (threads > 1)
    work(members_[static_cast<size_t>(omp_get_thread_num())]);
  }

  std::vector<std::optional<FlushDenormals>> members_;
};

class OneDnnNetwork : public CpuNetwork {
 public:
  OneDnnNetwork(std::shared_ptr<const OneDnnModel> model, const OneDnnNetworkOptions& options)
      : model_(std::move(model)),
        options_(options),
        memory_(model_->engine(), options.max_rows),
        programs_(options.max_rows + 1) {
    call_.stream = dnnl::stream(model_->engine());
  }

  void Predict(absl::Span<const NetworkRow> rows, float* e) override {
    const TeamSize team_size(options_.threads);
    const FlushingTeam flushing_team(options_.threads);
    PrepareCall(rows, e);
    OneDnnProgram& program = programs_.at(rows.size());
    if (program.empty()) program = CompileOneDnn(*model_, options_, static_cast<int>(rows.size()), memory_);
    for (const OneDnnOperation& operation : program) operation(call_);
  }

  void Rest() override { omp_pause_resource_all(omp_pause_soft); }

 private:
  void PrepareCall(absl::Span<const NetworkRow> rows, float* e) {
    call_.x.clear();
    call_.conditioning.clear();
    for (const NetworkRow& row : rows) {
      call_.x.push_back(row.x);
      call_.conditioning.push_back(model_->Conditioning(row.t, row.y));
    }
    call_.e = e;
  }

  const std::shared_ptr<const OneDnnModel> model_;
  const OneDnnNetworkOptions options_;
  OneDnnMemory memory_;
  std::vector<OneDnnProgram> programs_;  // by their number of rows; empty until first used
  OneDnnCall call_;                      // the one under way
};

}  // namespace

absl::StatusOr<std::shared_ptr<const OneDnnModel>> MakeOneDnnModel(UnetWeights weights) {
  return OneDnnModel::Make(std::move(weights));
}

bool HasBfloat16() {
  const auto wanted = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & wanted) == wanted;
}

std::unique_ptr<CpuNetwork> MakeOneDnnNetwork(std::shared_ptr<const OneDnnModel> model,
                                              const OneDnnNetworkOptions& options) {
  return std::make_unique<OneDnnNetwork>(std::move(model), options);
}

}  // namespace denoised
