#include "common/weights/unet_parameters.h"

#include <functional>
#include <numeric>
#include <utility>

#include "common/weights/residual_blocks.h"

namespace denoised {
namespace {

// Appends layers, each by the tensors it has.
class Listing {
 public:
  void Conv(const std::string& name, int in, int out, int kernel) { Layer(name, {out, in, kernel, kernel}, out); }
  void UpConv(const std::string& name, int in, int out) { Layer(name, {in, out, 2, 2}, out); }
  void Linear(const std::string& name, int in, int out) { Layer(name, {out, in}, out); }
  void Norm(const std::string& name, int channels) { Layer(name, {channels}, channels); }
  void Embedding(const std::string& name, int rows, int dim) { Add(name + ".weight", {rows, dim}); }
  void Add(std::string name, std::vector<int64_t> shape) {
    parameters_.push_back({.name = std::move(name), .shape = std::move(shape)});
  }
  std::vector<UnetParameter> Done() && { return std::move(parameters_); }

 private:
  void Layer(const std::string& name, std::vector<int64_t> weight, int bias) {
    Add(name + ".weight", std::move(weight));
    Add(name + ".bias", {bias});
  }

  std::vector<UnetParameter> parameters_;
};

void ListStage(Listing& listing, const std::string& stage, const UnetConfig& config) {
  for (const auto& [name, in, out] : BlocksOf(config, stage)) {
    listing.Norm(name + ".norm1", in);
    listing.Conv(name + ".conv1", in, out, 3);
    listing.Linear(name + ".embedding", config.embedding_dim, 2 * out);
    listing.Norm(name + ".norm2", out);
    listing.Conv(name + ".conv2", out, out, 3);
    if (in != out) listing.Conv(name + ".skip", in, out, 1);
  }
}

void ListCompact(const UnetConfig& config, Listing& listing) {
  const int c0 = config.channels[0], c1 = config.channels[1], c2 = config.channels[2], dim = config.embedding_dim;
  listing.Linear("time1", dim, dim);
  listing.Linear("time2", dim, dim);
  listing.Embedding("label", config.num_labels, dim);
  listing.Conv("stem", 4, c0, 3);
  ListStage(listing, "down16", config);
  listing.Conv("to8", c0, c1, 3);
  ListStage(listing, "down8", config);
  listing.Conv("to4", c1, c2, 3);
  ListStage(listing, "down4", config);
  ListStage(listing, "middle", config);
  ListStage(listing, "up4", config);
  listing.Conv("from4", c2, c1, 1);
  ListStage(listing, "up8", config);
  listing.Conv("from8", c1, c0, 1);
  ListStage(listing, "up16", config);
  listing.Norm("norm_out", c0);
  listing.Conv("conv_out", c0, 4, 3);
}

void ListSeedStage(Listing& listing, const std::string& name, int in, int out) {
  listing.Conv(name + ".0", in, out, 3);
  listing.Norm(name + ".1", out);
  listing.Conv(name + ".3", out, out, 3);
  listing.Norm(name + ".4", out);
}

void ListSeed(const UnetConfig& config, Listing& listing) {
  const int c0 = config.channels[0], c1 = config.channels[1], c2 = config.channels[2], c3 = config.channels[3];
  listing.Embedding("label_embedding", config.num_labels, config.embedding_dim);
  listing.Linear("embedding_projector", 2 * config.embedding_dim, c3);
  ListSeedStage(listing, "down1", 1, c0);
  ListSeedStage(listing, "down2", c0, c1);
  ListSeedStage(listing, "down3", c1, c2);
  ListSeedStage(listing, "bottleneck", c2, c3);
  listing.UpConv("up1", c3, c2);
  ListSeedStage(listing, "decode3", 2 * c2, c1);
  listing.UpConv("up2", c1, c1);
  ListSeedStage(listing, "decode2", 2 * c1, c0);
  listing.UpConv("up3", c0, c0);
  ListSeedStage(listing, "decode1", 2 * c0, c0);
  listing.Conv("final_out", c0, 1, 1);
}

}  // namespace

std::vector<UnetParameter> UnetParameters(const UnetConfig& config) {
  Listing listing;
  if (config.architecture == "seed") {
    ListSeed(config, listing);
  } else {
    ListCompact(config, listing);
  }
  listing.Add("frequencies", {config.embedding_dim / 2});
  return std::move(listing).Done();
}

int64_t NumberOfValues(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

}  // namespace denoised
