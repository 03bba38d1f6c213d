// File: network_program.h
//
// A U-Net as a list of operations on one block of memory, for the kernel of cuda_step.h: weights in the order in which
// matrix units take them, and a place in that memory for each layer's activations, which layers that are never needed
// at the same time share.
//
//   absl::StatusOr<NetworkProgram> program = CompileNetwork(weights, Precision::kFp16);
//
// Pure and thread-safe.
#ifndef DENOISED_COMMON_ENGINE_CUDA_NETWORK_PROGRAM_H_
#define DENOISED_COMMON_ENGINE_CUDA_NETWORK_PROGRAM_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/model/precision.h"
#include "common/weights/activation.h"
#include "common/weights/unet_weights.h"

namespace denoised {

// Channels of a layer come in so many: two products of matrices.
inline constexpr int kChannelUnit = 32;

// Of the widest layer that the kernel can run.
inline constexpr int kMaxChannels = 1024;

// Activations [size, size, channels] of an image, `stride` values from pixel to pixel.
struct Layout {
  int32_t offset = 0;    // in the image's memory, in values
  int32_t channels = 0;  // 0: nothing. A multiple of kChannelUnit; those that the network does not have are zeros
  int32_t stride = 0;
  int32_t log2_size = 0;
};

struct Operation {
  enum class Kind : int32_t {
    kLoadImage,        // out = x, or the four pixels of each of its 2x2 blocks as channels
    kNormalize,        // out = activation(scale * group_norm(in) + shift)
    kConvolve,         // out = bias + convolution(in), or out + that
    kMaxPool,          // out = the largest of each 2x2 block of a
    kAddConditioning,  // out += the row's conditioning
    kCopy,             // out = a
  };

  Kind kind = Kind::kCopy;
  // In: a's channels, then b's, each enlarged to log2_size, or to the size of a convolution's input.
  Layout a = {}, b = {};
  Layout out = {};
  int32_t log2_size = 0;  // of the normalised image, of the convolution's output

  // kConvolve
  int32_t kernel_size = 1;   // 1 or 3, padded to keep the size
  int32_t log2_stride = 0;   // of the convolution
  int32_t out_channels = 0;  // of the convolution
  int32_t column_tiles = 0;  // of kTileChannels output channels each
  int64_t weights = 0;       // tiles [pairs of columns, depth, 2] of NetworkProgram::weights; depth counts a's, then
                             // b's: for each element of the kernel the channels / kTileDepth
  int32_t bias = 0;          // in NetworkProgram::constants
  int32_t depth_a = 0, depth = 0;  // weight tiles of a column of them: of a, of both
  int32_t log2_splits = 0;         // of the parts of an output's sum, which warps share
  int32_t partials = 0;            // if there are several: where they lie in the image's memory, floats
                                   // [2^log2_splits, pixels, PartialsStride()]
  bool add = false;                // whether to add to what `out` holds
  bool spread = false;             // the output channels [2, 2, C] are the four pixels of 2x2 blocks of C channels
  bool predicts_noise = false;     // `out` is e, the network's output

  // kNormalize
  int32_t group_channels = 0;
  bool conditional = false;  // scale and shift are offsets into a row's conditioning rather than into constants
  int32_t scale = 0, shift = 0;
  Activation activation = Activation::kSilu;
};

// A weight tile is a matrix of so many input and output channels.
inline constexpr int kTileDepth = 16, kTileChannels = 16;
inline constexpr int kTileValues = kTileDepth * kTileChannels;

// Columns of tiles lie in pairs; the last has a partner of zeros where their number is odd.
inline constexpr int kPairedColumns = 2;

// So many tiles beyond its own may be read by whoever reads tiles before it needs them; the last weights are followed
// by as many tiles of zeros.
inline constexpr int kTilesAhead = 16;

// Floats from pixel to pixel among the parts of sums of so many tiles of channels.
inline constexpr int PartialsStride(int column_tiles) { return column_tiles * kTileChannels + 8; }

// Where element [k, n] of a weight tile is among its values. In fp16 it is the order of the registers of two of PTX's
// mma.m16n8k16, for columns 0 to 7 and 8 to 15: lane by lane, four values for each.
int WeightTileIndex(Precision precision, int k, int n);

struct NetworkProgram {
  Precision precision = Precision::kFp16;
  std::vector<Operation> operations;
  std::vector<float> weights;    // in tiles, not yet rounded to the precision
  std::vector<float> constants;  // biases, scales, shifts
  HostTensor conditioning;       // UnetWeights::conditioning
  int norm_groups = 0;
  int values_per_image = 0;  // memory for the activations of an image
  int widest = 0;            // channels of the layer that has most
};

// INVALID_ARGUMENT for precisions other than kFp32 and kFp16; UNIMPLEMENTED, saying why, for sizes that the kernel
// cannot run.
absl::StatusOr<NetworkProgram> CompileNetwork(UnetWeights weights, Precision precision);

}  // namespace denoised

#endif  // DENOISED_COMMON_ENGINE_CUDA_NETWORK_PROGRAM_H_
