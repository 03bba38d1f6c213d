#include "common/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/add_golden_draw.h"
#include "common/checkpoint/golden_reference.h"
#include "common/checkpoint/unet.h"
#include "common/support/digest.h"
#include "tests/testing/program.h"
#include "tests/testing/rewritten_archive.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kCopyAgain[] = "copy it again, or train a new one with denoise-train";

ModelMetadata SmallMetadata() {
  ModelMetadata metadata;
  metadata.unet.channels = {8, 8, 8};
  metadata.unet.embedding_dim = 16;
  metadata.null_label = 10;
  return metadata;
}

torch::jit::Module SmallUnet() {
  torch::manual_seed(1);
  torch::jit::Module unet = MakeUnet(SmallMetadata().unet);
  const torch::NoGradGuard no_grad;
  for (const at::Tensor& parameter : unet.parameters()) parameter.add_(0.1 * torch::randn_like(parameter));
  return unet;
}

std::string SmallCheckpoint() { return *SerializeCheckpoint(SmallMetadata(), SmallUnet()); }

void Replace(std::string& text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
}

TEST(CheckpointTest, ComesBack) {
  const TempFolder folder;
  const torch::jit::Module unet = SmallUnet();
  ASSERT_THAT(SaveCheckpoint(folder.File("m.pt"), SmallMetadata(), unet), IsOk());
  const absl::StatusOr<Checkpoint> loaded = LoadCheckpoint(folder.File("m.pt"));
  ASSERT_THAT(loaded, IsOk());
  EXPECT_EQ(loaded->metadata.unet, SmallMetadata().unet);
  EXPECT_EQ(loaded->metadata.null_label, 10);
  EXPECT_EQ(loaded->sha256, Sha256Hex(Slurp(folder.File("m.pt"))));
  int64_t count = 0;
  auto expected = unet.parameters().begin();
  for (const at::Tensor& parameter : loaded->unet.parameters()) {
    EXPECT_TRUE(torch::equal(parameter, *expected));
    ++expected;
    count += parameter.numel();
  }
  EXPECT_EQ(loaded->parameter_count, count);
}

TEST(CheckpointTest, SameWeightsGiveTheSameBytes) { EXPECT_EQ(SmallCheckpoint(), SmallCheckpoint()); }

// As files were written before they carried a golden draw.
std::string OlderCheckpoint() {
  const Checkpoint checkpoint = *ParseCheckpoint("m.pt", SmallCheckpoint());
  std::ostringstream archive;
  checkpoint.unet.save(archive, {{"denoised.json", SerializeModelMetadata(checkpoint.metadata)}});
  return archive.str();
}

// The small checkpoint, whose golden draw says this.
std::string WithGoldenDraw(const std::string& json) {
  return Rewritten(SmallCheckpoint(), [&json](const std::string& name, std::string& data) {
    if (name == "extra/golden_draw.json") data = json;
  });
}

TEST(CheckpointTest, CarriesWhatItsNetworkDraws) {
  const Checkpoint checkpoint = *ParseCheckpoint("m.pt", SmallCheckpoint());
  const GoldenReference drawn = *DrawReference(checkpoint.metadata, checkpoint.unet);
  ASSERT_TRUE(checkpoint.golden.has_value());
  EXPECT_EQ(checkpoint.golden->images, drawn.images);
  EXPECT_THAT(checkpoint.golden->drawn_by, StartsWith("LibTorch "));
}

TEST(CheckpointTest, OlderFileWithoutAGoldenDrawIsReadAsBefore) {
  const absl::StatusOr<Checkpoint> checkpoint = ParseCheckpoint("m.pt", OlderCheckpoint());
  ASSERT_THAT(checkpoint, IsOk());
  EXPECT_FALSE(checkpoint->golden.has_value());
}

TEST(CheckpointTest, DamagedOrOversizedGoldenDrawIsRefused) {
  EXPECT_THAT(ParseCheckpoint("m.pt", WithGoldenDraw("{}")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       StartsWith("m.pt: golden_draw.json in the checkpoint is not what this build expects (")));
  EXPECT_THAT(ParseCheckpoint("m.pt", WithGoldenDraw(std::string(kMaxGoldenRecordBytes + 1, ' '))),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("it has 262145 bytes, more than 262144")));
}

TEST(CheckpointTest, GoldenDrawIsAddedAndNothingElseChanges) {
  const Checkpoint whole = *ParseCheckpoint("m.pt", SmallCheckpoint());
  for (const std::string& before : {OlderCheckpoint(), WithGoldenDraw("damaged")}) {
    const TempFolder folder;
    const std::string path = folder.Write("m.pt", before);
    ASSERT_THAT(AddGoldenDraw(path), IsOk());
    const absl::StatusOr<Checkpoint> after = LoadCheckpoint(path);
    ASSERT_THAT(after, IsOk());
    EXPECT_TRUE(after->golden == whole.golden);
    EXPECT_TRUE(after->metadata == whole.metadata);  // the parameters' digest among it
  }
}

TEST(CheckpointTest, GoldenDrawIsNotAddedToWhatIsNoCheckpoint) {
  const TempFolder folder;
  const std::string path = folder.Write("m.pt", "hello");
  EXPECT_THAT(AddGoldenDraw(path),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("m.pt is not a TorchScript archive")));
  EXPECT_EQ(Slurp(path), "hello");
}

TEST(CheckpointTest, MissingFileSaysWhatToDo) {
  EXPECT_THAT(LoadCheckpoint("/nowhere/m.pt"),
              StatusIs(absl::StatusCode::kNotFound,
                       "cannot load the checkpoint: cannot open /nowhere/m.pt: No such file or directory; name an "
                       "existing one, or train one with denoise-train"));
}

TEST(CheckpointTest, EmptyFile) {
  EXPECT_THAT(ParseCheckpoint("m.pt", ""),
              StatusIs(absl::StatusCode::kInvalidArgument, std::string("m.pt is empty; ") + kCopyAgain));
}

TEST(CheckpointTest, TruncatedFileWhereverItIsCut) {
  const std::string bytes = SmallCheckpoint();
  for (const size_t size : {size_t{100}, bytes.size() / 2, bytes.size() - 1}) {
    EXPECT_THAT(ParseCheckpoint("m.pt", bytes.substr(0, size)),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         "m.pt is a damaged or truncated archive (" + std::to_string(size) + " bytes); " + kCopyAgain));
  }
}

// Whatever is damaged: the file is refused in words, or what was loaded is what was saved.
TEST(CheckpointTest, DamagedBytesAnywhereLoseNothing) {
  const std::string archive = SmallCheckpoint();
  const std::string parameters = ParseCheckpoint("m.pt", archive)->metadata.parameters_sha256;
  std::mt19937 random(7);
  int refused = 0;
  for (int i = 0; i < 150; ++i) {
    std::string damaged = archive;
    // Half of them at the end, where the archive's directory is: it says how long everything else is.
    const size_t first = i % 2 == 0 ? 0 : archive.size() - std::min<size_t>(archive.size(), 4096);
    for (int bytes = 0; bytes <= i % 4; ++bytes) {
      const size_t at = std::uniform_int_distribution<size_t>(first, archive.size() - 1)(random);
      damaged[at] = static_cast<char>(random());
    }
    const absl::StatusOr<Checkpoint> loaded = ParseCheckpoint("m.pt", damaged);
    if (loaded.ok()) {
      EXPECT_EQ(loaded->metadata.parameters_sha256, parameters) << i;
    } else {
      ++refused;
      EXPECT_THAT(std::string(loaded.status().message()), StartsWith("m.pt")) << i;
      EXPECT_LE(loaded.status().message().size(), 1024u) << i;
    }
  }
  EXPECT_GT(refused, 50);
}

// A tensor that claims more than the archive holds would be read from whatever memory lies behind.
TEST(CheckpointTest, TensorsThatGoBeyondTheirDataAreRefused) {
  const std::string metadata_json = SerializeModelMetadata(ParseCheckpoint("m.pt", SmallCheckpoint())->metadata);
  struct Claim {
    int64_t offset;
    int64_t stride;
  };
  for (const Claim claim :
       {Claim{1, 1}, Claim{int64_t{1} << 40, 1}, Claim{-1, 1}, Claim{0, 2}, Claim{0, int64_t{1} << 62}, Claim{4, -1}}) {
    torch::jit::Module unet = SmallUnet();
    at::Tensor last;  // a bias
    for (const at::Tensor& parameter : unet.parameters()) {
      if (parameter.dim() == 1) last = parameter;
    }
    last.unsafeGetTensorImpl()->set_storage_offset(claim.offset);
    last.unsafeGetTensorImpl()->set_sizes_and_strides(last.sizes(), {claim.stride});
    std::ostringstream archive;
    unet.save(archive, {{"denoised.json", metadata_json}});
    EXPECT_THAT(ParseCheckpoint("m.pt", archive.str()).status(),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(StartsWith("m.pt: the tensor "), HasSubstr(" goes beyond its data; "))))
        << claim.offset << " " << claim.stride;
  }
}

TEST(CheckpointTest, NotAnArchive) {
  EXPECT_THAT(ParseCheckpoint("m.pt", "#!/bin/sh\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "m.pt is not a TorchScript archive; a checkpoint is a file written by denoise-train"));
}

TEST(CheckpointTest, ArchiveOfAnotherProgram) {
  std::ostringstream stream;
  SmallUnet().save(stream);
  EXPECT_THAT(ParseCheckpoint("m.pt", stream.str()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "m.pt holds no denoised.json, so it was not written by denoise-train; train one or name another "
                       "file"));
}

TEST(CheckpointTest, OtherFormatVersion) {
  const std::string bytes = Rewritten(SmallCheckpoint(), [](const std::string& name, std::string& data) {
    if (name == "extra/denoised.json") Replace(data, "\"format_version\": 1", "\"format_version\": 9");
  });
  EXPECT_THAT(ParseCheckpoint("m.pt", bytes),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "m.pt: the checkpoint has format version 9, this build reads version 1; use the denoised that "
                       "belongs to it, or train again with this denoise-train"));
}

// A network of 12 GB would be made before its parameters are missed, and the process killed.
TEST(CheckpointTest, ANetworkThatIsLargerThanTheFileIsNotMade) {
  const std::string archive = Rewritten(SmallCheckpoint(), [](const std::string& name, std::string& data) {
    if (name != "extra/denoised.json") return;
    ModelMetadata metadata = *ParseModelMetadata(data);
    metadata.unet.channels = {4096, 4096, 4096};
    data = SerializeModelMetadata(metadata);
  });
  EXPECT_THAT(ParseCheckpoint("m.pt", archive),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       absl::StrCat("m.pt has ", archive.size(),
                                    " bytes, too few for the network that its denoised.json describes; ", kCopyAgain)));
}

TEST(CheckpointTest, ForeignCodeIsNotRun) {
  const std::string bytes = Rewritten(SmallCheckpoint(), [](const std::string& name, std::string& data) {
    if (name.starts_with("code/") && name.ends_with(".py")) data += "\n";
  });
  EXPECT_THAT(
      ParseCheckpoint("m.pt", bytes),
      StatusIs(
          absl::StatusCode::kPermissionDenied,
          HasSubstr("m.pt brings code that this build does not write for architecture \"compact\"; it was not run")));
}

// LibTorch tells its other format, whose code nobody looks at, by these bytes, whatever follows.
TEST(CheckpointTest, AFileThatBeginsAsAnotherFormatIsRefusedThoughItEndsAsACheckpoint) {
  std::string patched = SmallCheckpoint();
  patched.replace(4, 4, "PTMF");
  const std::string prefixed = std::string(4, '\0') + "PTMF" + std::string(56, '\0') + SmallCheckpoint();
  for (const std::string& bytes : {patched, prefixed}) {
    EXPECT_THAT(ParseCheckpoint("m.pt", bytes), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("m.pt is ")));
  }
}

TEST(CheckpointTest, FileThatUnpacksToFarMoreIsRefusedUnread) {
  const std::string bytes = Rewritten(
      SmallCheckpoint(),
      [](const std::string& name, std::string& data) {
        if (name == "extra/golden_draw.json") data.resize(64 << 20, ' ');
      },
      /*compress=*/true);
  ASSERT_LT(bytes.size(), 4u << 20);
  EXPECT_THAT(ParseCheckpoint("m.pt", bytes),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("far more than what denoise-train writes")));
}

TEST(CheckpointTest, FlippedBitInTheWeights) {
  bool flipped = false;
  const std::string bytes = Rewritten(SmallCheckpoint(), [&](const std::string& name, std::string& data) {
    if (flipped || !name.starts_with("data/") || data.size() < 100) return;
    data[1] = static_cast<char>(data[1] ^ 1);  // low bits of a number: it stays finite
    flipped = true;
  });
  ASSERT_TRUE(flipped);
  EXPECT_THAT(ParseCheckpoint("m.pt", bytes),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("m.pt: the parameters do not match their SHA-256")));
}

TEST(CheckpointTest, NumbersThatAreNotFinite) {
  torch::jit::Module unet = SmallUnet();
  const torch::NoGradGuard no_grad;
  (*unet.parameters().begin()).fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT(ParseCheckpoint("m.pt", *SerializeCheckpoint(SmallMetadata(), unet)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("is not finite")));
}

// Debian's python3-torch, or any other: what denoise-train writes is ordinary TorchScript.
TEST(CheckpointTest, PythonComputesTheSame) {
  const ProgramResult probe = RunProgram({"/usr/bin/python3", "-c", "import torch"});
  if (probe.exit_code != 0) GTEST_SKIP() << "python3 has no torch (Debian: python3-torch): " << probe.err;
  const TempFolder folder;
  ASSERT_THAT(SaveCheckpoint(folder.File("m.pt"), SmallMetadata(), SmallUnet()), IsOk());
  for (const std::string& path : {folder.File("m.pt"), std::string(DENOISED_SOURCE_DIR "/models/mnist.pt")}) {
    absl::StatusOr<Checkpoint> checkpoint = LoadCheckpoint(path);
    ASSERT_THAT(checkpoint, IsOk());
    at::Tensor x = torch::empty({2, 1, 32, 32});
    for (int64_t i = 0; i < x.numel(); ++i) {
      x.data_ptr<float>()[i] = static_cast<float>(std::cos(0.37 * static_cast<double>(i)));
    }
    const torch::NoGradGuard no_grad;
    const at::Tensor output =
        checkpoint->unet.forward({x, torch::tensor({7, 913}), torch::tensor({3, 8})}).toTensor().contiguous();
    const ProgramResult python =
        RunProgram({"/usr/bin/python3", DENOISED_SOURCE_DIR "/tests/common/checkpoint/jit_load_check.py", path});
    ASSERT_EQ(python.exit_code, 0) << python.err;
    std::istringstream numbers(python.out);
    int64_t compared = 0;
    for (double number = 0; numbers >> number; ++compared) {
      ASSERT_LT(compared, output.numel());
      ASSERT_NEAR(output.data_ptr<float>()[compared], number, 1e-5) << path;
    }
    EXPECT_EQ(compared, output.numel());
  }
}

}  // namespace
}  // namespace denoised
