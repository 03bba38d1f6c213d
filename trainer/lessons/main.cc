// denoise-lessons: three mistakes that a diffusion model forgives badly, made on purpose. docs/lessons.md shows what
// they draw. A study, apart from the product: a small network of its own, written with torch::nn, because the product's
// networks and trainer leave no room for these mistakes.
//
//   denoise-lessons --data data --out docs/lessons
//
// B rows, C channels, H and W pixels; images are [B,1,32,32].
#include <torch/torch.h>

#include <cmath>
#include <cstdio>
#include <numbers>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/checkpoint/torch_error.h"
#include "common/checkpoint/torch_threads.h"
#include "common/diffusion/noise.h"
#include "common/diffusion/row_update.h"
#include "common/diffusion/step_plan.h"
#include "common/image/image.h"
#include "common/support/command_line.h"
#include "common/support/file.h"
#include "common/support/progress_bar.h"
#include "common/support/status_macros.h"
#include "trainer/data/mnist.h"

namespace denoised {
namespace {

constexpr int kClasses = 10;
constexpr int kEmbedding = 64;

struct Lesson {
  const char* name;  // of the picture
  const char* title;
  bool one_step = false;    // predict the clean image from pure noise, at once
  bool unit_range = false;  // pixels in [0, 1]
  bool batch_norm = false;  // in the place of GroupNorm
};

constexpr Lesson kLessons[] = {
    {.name = "as-it-should-be", .title = "noise prediction over 1000 steps, pixels in [-1, 1], GroupNorm"},
    {.name = "one-step", .title = "the clean image predicted from noise in one step", .one_step = true},
    {.name = "unit-range", .title = "pixels in [0, 1]", .unit_range = true},
    {.name = "batch-norm", .title = "BatchNorm in the place of GroupNorm", .batch_norm = true},
};

struct Options {
  std::string data = "data";
  bool verify_data = true;
  std::string out = "lessons";
  std::string lesson;  // empty: all
  int epochs = 2;
  int images = 60000;
  int rows_per_digit = 2;
  int num_steps = 1000;
};

// ---- The network ----------------------------------------------------------------------------------------------------

torch::nn::AnyModule Norm(int channels, bool batch_norm) {
  if (batch_norm) return torch::nn::AnyModule(torch::nn::BatchNorm2d(channels));
  return torch::nn::AnyModule(torch::nn::GroupNorm(8, channels));
}

torch::nn::Conv2d Conv(int in, int out, int stride = 1) {
  return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 3).stride(stride).padding(1));
}

// Norm, SiLU, convolution, twice; what the image is and how noisy comes in between. [B,in,H,W] -> [B,out,H,W].
class BlockImpl : public torch::nn::Module {
 public:
  BlockImpl(int in, int out, bool batch_norm)
      : norm1_(Norm(in, batch_norm)),
        norm2_(Norm(out, batch_norm)),
        conv1_(Conv(in, out)),
        conv2_(Conv(out, out)),
        skip_(torch::nn::Conv2dOptions(in, out, 1)),
        embedding_(kEmbedding, out) {
    register_module("norm1", norm1_.ptr());
    register_module("norm2", norm2_.ptr());
    register_module("conv1", conv1_);
    register_module("conv2", conv2_);
    register_module("skip", skip_);
    register_module("embedding", embedding_);
  }
  at::Tensor forward(const at::Tensor& x, const at::Tensor& e) {
    at::Tensor h = conv1_(torch::silu(norm1_.forward(x))) + embedding_(e).unsqueeze(-1).unsqueeze(-1);
    return skip_(x) + conv2_(torch::silu(norm2_.forward(h)));
  }

 private:
  torch::nn::AnyModule norm1_, norm2_;
  torch::nn::Conv2d conv1_, conv2_, skip_;
  torch::nn::Linear embedding_;
};
TORCH_MODULE(Block);

// A U-Net at 16x16, 8x8 and 4x4 behind a space-to-depth stem.
class UnetImpl : public torch::nn::Module {
 public:
  explicit UnetImpl(bool batch_norm)
      : label_(kClasses, kEmbedding),
        time_(kEmbedding, kEmbedding),
        stem_(Conv(4, 32)),
        to8_(Conv(32, 64, 2)),
        to4_(Conv(64, 128, 2)),
        from4_(Conv(128, 64)),
        from8_(Conv(64, 32)),
        out_(Conv(32, 4)),
        down16_(32, 32, batch_norm),
        down8_(64, 64, batch_norm),
        middle1_(128, 128, batch_norm),
        middle2_(128, 128, batch_norm),
        up8_(128, 64, batch_norm),
        up16_(64, 32, batch_norm) {
    register_module("label", label_);
    register_module("time", time_);
    register_module("stem", stem_);
    register_module("to8", to8_);
    register_module("to4", to4_);
    register_module("from4", from4_);
    register_module("from8", from8_);
    register_module("out", out_);
    register_module("down16", down16_);
    register_module("down8", down8_);
    register_module("middle1", middle1_);
    register_module("middle2", middle2_);
    register_module("up8", up8_);
    register_module("up16", up16_);
  }

  // x [B,1,32,32], t [B] and y [B] int64 -> [B,1,32,32].
  at::Tensor forward(const at::Tensor& x, const at::Tensor& t, const at::Tensor& y) {
    const at::Tensor k = torch::arange(kEmbedding / 2, torch::kFloat32);
    const at::Tensor angles = t.unsqueeze(1) * torch::exp(-std::log(10000.0) * k / (kEmbedding / 2));
    const at::Tensor e = torch::silu(time_(torch::cat({angles.sin(), angles.cos()}, 1)) + label_(y));
    const at::Tensor h16 = down16_(stem_(torch::pixel_unshuffle(x, 2)), e);
    const at::Tensor h8 = down8_(to8_(h16), e);
    at::Tensor h = from4_(middle2_(middle1_(to4_(h8), e), e));
    h = up8_(torch::cat({torch::upsample_nearest2d(h, {8, 8}), h8}, 1), e);
    h = up16_(torch::cat({torch::upsample_nearest2d(from8_(h), {16, 16}), h16}, 1), e);
    return torch::pixel_shuffle(out_(h), 2);
  }

 private:
  torch::nn::Embedding label_;
  torch::nn::Linear time_;
  torch::nn::Conv2d stem_, to8_, to4_, from4_, from8_, out_;
  Block down16_, down8_, middle1_, middle2_, up8_, up16_;
};
TORCH_MODULE(Unet);

// ---- Training -------------------------------------------------------------------------------------------------------

// The loss of one batch; `clean` [B,1,32,32] in the lesson's range, `y` [B].
at::Tensor Loss(const Lesson& lesson, Unet& unet, const NoiseSchedule& schedule, const at::Tensor& clean,
                const at::Tensor& y) {
  const int64_t steps = schedule.num_train_timesteps();
  const at::Tensor epsilon = torch::randn_like(clean);
  if (lesson.one_step) return (unet(epsilon, torch::full_like(y, steps - 1), y) - clean).square().mean();
  const at::Tensor t = torch::randint(steps, {clean.size(0)}, torch::kInt64);
  const at::Tensor ab =
      torch::tensor(schedule.alphas_cumprod(), torch::kFloat32).index_select(0, t).view({-1, 1, 1, 1});
  return (unet(ab.sqrt() * clean + (1 - ab).sqrt() * epsilon, t, y) - epsilon).square().mean();
}

// Moves `average` towards `unet`, running statistics of BatchNorm included.
void Average(Unet& unet, Unet& average, int64_t step) {
  const torch::NoGradGuard no_grad;
  const double share = 1 - std::min(0.995, static_cast<double>(1 + step) / static_cast<double>(10 + step));
  const auto follow = [share](const std::vector<at::Tensor>& from, const std::vector<at::Tensor>& to) {
    for (size_t i = 0; i < to.size(); ++i) {
      if (to[i].is_floating_point()) at::Tensor(to[i]).lerp_(from[i], share);
    }
  };
  follow(unet->parameters(), average->parameters());
  follow(unet->buffers(), average->buffers());
}

// Leaves the averaged network in `average`; returns the mean loss of the last epoch.
double Train(const Lesson& lesson, const Options& options, const Dataset& data, const NoiseSchedule& schedule,
             Unet& average) {
  constexpr int64_t kBatch = 64;
  Unet unet(lesson.batch_norm);
  unet->train();
  const int64_t images = std::min<int64_t>(options.images, static_cast<int64_t>(data.size()));
  at::Tensor pixels =
      torch::from_blob(const_cast<uint8_t*>(data.pixels.data()), {images, 1, kModelSize, kModelSize}, torch::kUInt8);
  const at::Tensor labels = torch::from_blob(const_cast<uint8_t*>(data.labels.data()), {images}, torch::kUInt8);
  torch::optim::Adam optimizer(unet->parameters(), torch::optim::AdamOptions(1e-3));
  const auto total = static_cast<double>(options.epochs * (images / kBatch));
  double mean = 0;
  int64_t step = 0;
  for (int epoch = 0; epoch < options.epochs; ++epoch) {
    const at::Tensor order = torch::randperm(images);
    const int64_t batches = images / kBatch;
    double sum = 0;
    for (int64_t b = 0; b < batches; ++b) {
      const at::Tensor rows = order.narrow(0, b * kBatch, kBatch);
      const at::Tensor unit = pixels.index_select(0, rows).to(torch::kFloat32) / 255;
      const double progress = static_cast<double>(step) / total;
      optimizer.param_groups()[0].options().set_lr(1e-3 * 0.5 * (1 + std::cos(std::numbers::pi * progress)));
      optimizer.zero_grad();
      const at::Tensor loss = Loss(lesson, unet, schedule, lesson.unit_range ? unit : unit * 2 - 1,
                                   labels.index_select(0, rows).to(torch::kInt64));
      loss.backward();
      optimizer.step();
      Average(unet, average, step++);
      sum += loss.item<double>();
      if (b % 20 == 0) ShowProgress(absl::StrFormat("%s: epoch %d, batch %d/%d", lesson.name, epoch + 1, b, batches));
    }
    mean = sum / static_cast<double>(batches);
  }
  ClearProgress();
  return mean;
}

// ---- Drawing --------------------------------------------------------------------------------------------------------

at::Tensor Noise(int64_t images, uint32_t stream) {
  at::Tensor noise = torch::empty({images, 1, kModelSize, kModelSize});
  for (int64_t i = 0; i < images; ++i) {
    FillNoise({.seed = static_cast<uint64_t>(i), .stream = stream},
              {noise.data_ptr<float>() + i * kModelPixels, kModelPixels});
  }
  return noise;
}

// The whole chain, with the variance beta_t and no clamp. y [B] -> [B,1,32,32] in the lesson's range.
absl::StatusOr<at::Tensor> Draw(const Lesson& lesson, const NoiseSchedule& schedule, Unet& unet, const at::Tensor& y) {
  const torch::NoGradGuard no_grad;
  at::Tensor x = Noise(y.size(0), kInitialNoise), x0 = torch::zeros_like(x);
  if (lesson.one_step) return unet(x, torch::full_like(y, schedule.num_train_timesteps() - 1), y);
  DENOISED_ASSIGN_OR_RETURN(const StepPlan plan,
                            MakeStepPlan(schedule, {.variance_type = VarianceType::kFixedLarge, .clip_sample = false}));
  uint32_t stream = kInitialNoise;
  for (const StepCoefficients& row : plan) {
    const at::Tensor e = unet(x, torch::full_like(y, row.timestep), y).contiguous();
    const at::Tensor z = Noise(y.size(0), ++stream);
    UpdateRow(row, e.data_ptr<float>(), z.data_ptr<float>(), static_cast<size_t>(x.numel()), x.data_ptr<float>(),
              x0.data_ptr<float>());
    if (stream % 20 == 0) ShowProgress(absl::StrFormat("%s: drawing, step %d", lesson.name, stream));
  }
  ClearProgress();
  return x;
}

absl::StatusOr<std::string> Picture(const at::Tensor& images) {
  constexpr int kScale = 2, kPadding = 4;
  std::vector<GreyImage> cells;
  for (int64_t i = 0; i < images.size(0); ++i) {
    const float* pixels = images.data_ptr<float>() + i * kModelPixels;
    DENOISED_ASSIGN_OR_RETURN(GreyImage cell, Resize(FromModelPixels({pixels, kModelPixels}, kModelSize, kModelSize),
                                                     kModelSize * kScale, Interpolation::kCubic));
    cells.push_back(std::move(cell));
  }
  DENOISED_ASSIGN_OR_RETURN(const GreyImage grid, MakeGrid(cells, kClasses, kPadding, 40));
  return EncodePng(grid);
}

// ---- The program ----------------------------------------------------------------------------------------------------

absl::Status DrawPicture(const Lesson& lesson, const Options& options, const NoiseSchedule& schedule, Unet& unet,
                         const std::string& name) {
  const at::Tensor y = torch::arange(kClasses).repeat({options.rows_per_digit});
  DENOISED_ASSIGN_OR_RETURN(at::Tensor images, Draw(lesson, schedule, unet, y));
  if (lesson.unit_range) images = images * 2 - 1;
  DENOISED_ASSIGN_OR_RETURN(const std::string png, Picture(images.contiguous()));
  return WriteFileAtomically(absl::StrCat(options.out, "/", name, ".png"), png);
}

absl::Status Teach(const Lesson& lesson, const Options& options, const Dataset& data, const NoiseSchedule& schedule) {
  torch::manual_seed(1);
  Unet unet(lesson.batch_norm);
  const double loss = Train(lesson, options, data, schedule, unet);
  absl::PrintF("%s: %s, loss %.5f\n", lesson.name, lesson.title, loss);
  std::fflush(stdout);
  unet->eval();  // BatchNorm: the running averages of training
  DENOISED_RETURN_IF_ERROR(DrawPicture(lesson, options, schedule, unet, lesson.name));
  if (!lesson.batch_norm) return absl::OkStatus();
  unet->train();  // BatchNorm: the statistics of what is being drawn, all of it at one noise level
  return DrawPicture(lesson, options, schedule, unet, absl::StrCat(lesson.name, "-of-the-batch"));
}

absl::Status Run(const Options& options) {
  DENOISED_ASSIGN_OR_RETURN(const Dataset data,
                            LoadMnist(options.data, Split::kTrain, {.verify_checksums = options.verify_data}));
  DENOISED_ASSIGN_OR_RETURN(const NoiseSchedule schedule,
                            NoiseSchedule::Create({.num_train_timesteps = options.num_steps}));
  DENOISED_RETURN_IF_ERROR(EnsureWritableFolder(options.out));
  try {
    ComputeOnThisThreadAlone();
    for (const Lesson& lesson : kLessons) {
      if (!options.lesson.empty() && options.lesson != lesson.name) continue;
      DENOISED_RETURN_IF_ERROR(Teach(lesson, options, data, schedule));
    }
    return absl::OkStatus();
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("the study failed: ", TorchErrorText(e)));
  }
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Trains a small network four times, three of them with a mistake, and draws what comes of it.",
               "denoise-lessons");
  app.option_defaults()->always_capture_default();
  app.add_option("--data", options.data, "Folder with MNIST's IDX files, gzipped or not");
  app.add_flag("--verify_data,!--noverify_data", options.verify_data, "Check the data against MNIST's SHA-256 sums");
  app.add_option("--out", options.out, "Folder for the pictures");
  app.add_option("--lesson", options.lesson, "Only this one; none: all")
      ->check(CLI::IsMember({"as-it-should-be", "one-step", "unit-range", "batch-norm"}));
  app.add_option("--epochs", options.epochs, "Passes over the data for each")->check(CLI::PositiveNumber);
  app.add_option("--images", options.images, "Training images to use")->check(CLI::Range(64, 60000));
  app.add_option("--rows_per_digit", options.rows_per_digit, "Images of each digit to draw")->check(CLI::Range(1, 100));
  app.add_option("--num_steps", options.num_steps, "Length of the chain")->check(CLI::Range(1, 1000));
  if (const std::optional<int> code = ParseCommandLine(app, argc, argv)) return *code;
  const absl::Status status = Run(options);
  if (status.ok()) return EXIT_SUCCESS;
  ClearProgress();
  absl::FPrintF(stderr, "denoise-lessons: error: %s\n", status.message());
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace denoised

int main(int argc, char** argv) { return denoised::Main(argc, argv); }
