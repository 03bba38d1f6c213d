#include "common/engine/cpu/onednn_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/engine/cpu/cpu_kernels.h"
#include "common/support/status_macros.h"

namespace denoised {

using dnnl::memory;

namespace {

// Why these sizes cannot be run here, or OK.
absl::Status CheckSizes(const UnetConfig& config) {
  for (const int base : config.channels) {
    for (const int channels : {base, 2 * base}) {
      const int group = channels / config.norm_groups;
      if (channels % kVectorLanes != 0 || group > kMaxGroupChannels ||
          (group % kVectorLanes != 0 && kVectorLanes % group != 0)) {
        return absl::UnimplementedError(absl::StrCat("a layer of ", channels, " channels in ", config.norm_groups,
                                                     " groups does not divide into vectors of ", kVectorLanes));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const OneDnnModel>> OneDnnModel::Make(UnetWeights weights) {
  DENOISED_RETURN_IF_ERROR(CheckSizes(weights.config));
  if (weights.config.architecture == "seed") {
    for (const char* name : {"up1", "up2", "up3"}) {
      AsConvolution(weights.tensors.at(absl::StrCat(name, ".weight")), weights.tensors.at(absl::StrCat(name, ".bias")));
    }
  }
  return std::shared_ptr<const OneDnnModel>(new OneDnnModel(std::move(weights)));
}

OneDnnModel::OneDnnModel(UnetWeights weights) : weights_(std::move(weights)), engine_(dnnl::engine::kind::cpu, 0) {}

const float* OneDnnModel::Conditioning(int64_t t, int64_t y) const {
  const HostTensor& table = weights_.conditioning;
  return table.values.data() + (y * weights_.num_train_timesteps + t) * table.shape[2];
}

memory OneDnnModel::Packed(const std::string& name, const memory::desc& wanted) const {
  const absl::MutexLock lock(&mu_);
  std::vector<memory>& known = packed_[name];
  for (const memory& candidate : known) {
    if (candidate.get_desc() == wanted) return candidate;
  }
  return known.emplace_back(Pack(name, wanted));
}

memory OneDnnModel::Pack(const std::string& name, const memory::desc& wanted) const {
  const HostTensor& weight = tensor(name);
  memory plain({weight.shape, memory::data_type::f32, memory::format_tag::oihw}, engine_,
               const_cast<float*>(weight.values.data()));
  memory packed(wanted, engine_);
  dnnl::stream stream(engine_);
  dnnl::reorder(plain, packed).execute(stream, plain, packed);
  stream.wait();
  return packed;
}

}  // namespace denoised
