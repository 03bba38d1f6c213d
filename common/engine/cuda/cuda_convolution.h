// File: cuda_convolution.h
//
// A convolution of a block's rows as a product of matrices, [pixels, kernel^2 * in] times [kernel^2 * in, out]:
//
//   Convolution(block, operation).Run();
//
// Each warp sums tiles of 16 * kRows pixels and 16 * kColumns output channels. An output is summed in one order,
// whatever the tiles' size: of a, then of b, for each element of the kernel the channels. Of layers with few pixels
// several warps share an output's sum: each takes its part of that order, and the parts are then added.
#ifndef DENOISED_COMMON_ENGINE_CUDA_CUDA_CONVOLUTION_H_
#define DENOISED_COMMON_ENGINE_CUDA_CUDA_CONVOLUTION_H_

#include <cstdint>
#include <type_traits>

#include "common/engine/cuda/cuda_block.h"
#include "common/engine/cuda/cuda_matrix.h"
#include "common/engine/cuda/cuda_threads.h"
#include "common/engine/cuda/half.h"
#include "common/engine/cuda/network_program.h"
#include "common/image/image.h"
#include "common/support/host_device.h"

namespace denoised::cuda_step {

// `index` counts the output's pixels, through all of the block's rows. All sizes are powers of two.
template <typename BlockType>
class Convolution {
 public:
  using T = typename BlockType::T;

  DENOISED_HOST_DEVICE Convolution(const BlockType& block, const Operation& operation)
      : block_(block), operation_(operation) {}

  DENOISED_HOST_DEVICE void Run() const {
    // Larger shares of a warp read less; but every warp shall have one. Their size does not change a sum.
    const int rows = block_.num_rows() << 2 * operation_.log2_size >> 4, columns = operation_.column_tiles;
    const int shares = rows * columns << operation_.log2_splits;
    const bool two_rows = rows % 2 == 0, two_columns = columns % 2 == 0;
    // Activations that are far away leave no registers for the largest share.
    const bool largest = BlockType::kActivationsInSharedMemory && two_rows && two_columns && shares >= 4 * kWarps;
    if (operation_.predicts_noise || operation_.spread) {
      if (two_rows && shares >= 2 * kWarps) {
        ConvolveTiles<Ending::kOther, 2, 1>(rows);
      } else {
        ConvolveTiles<Ending::kOther, 1, 1>(rows);
      }
    } else if (operation_.log2_splits > 0) {
      if (largest) {
        ConvolveTiles<Ending::kPartials, 2, 2>(rows);
      } else if (two_columns && shares >= 2 * kWarps) {
        ConvolveTiles<Ending::kPartials, 1, 2>(rows);
      } else {
        ConvolveTiles<Ending::kPartials, 1, 1>(rows);
      }
      AddPartials();
    } else if (largest) {
      ConvolveTiles<Ending::kLayer, 2, 2>(rows);
    } else if (two_rows && shares >= 2 * kWarps) {
      ConvolveTiles<Ending::kLayer, 2, 1>(rows);
    } else {
      ConvolveTiles<Ending::kLayer, 1, 1>(rows);
    }
  }

 private:
  // What becomes of a sum: a value of a layer, a part of one, or something else.
  enum class Ending { kLayer, kPartials, kOther };

  template <int kRows, int kColumns>
  using TileSums = PerLane<Sums>[kRows][kColumns];

  // What a lane reads for A of 16 pixels, of which one is its own.
  struct Pixel {
    int place = 0;        // of the kernel's first element
    uint32_t inside = 0;  // bit by bit: whether the kernel's elements are inside the image
  };
  template <int kRows>
  using Pixels = PerLane<Pixel>[kRows];
  template <int kRows>
  using Places = PerLane<int>[kRows];

  // Weights of kProducts products, one behind the other. Weights come from far: while some are multiplied, those of the
  // next kStages - 1 times as many are on their way. fp32, which is for comparison, and networks whose activations lie
  // far away too have no registers to spare for that.
  static constexpr bool kReadAhead = std::is_same_v<T, Half> && BlockType::kActivationsInSharedMemory;
  static constexpr int kPortionTiles = kChannelUnit / kTileDepth;
  static constexpr int kProducts = std::is_same_v<T, Half> ? kPortionTiles : 1;
  template <int kColumns>
  static constexpr int kStages = !kReadAhead     ? 1
                                 : kColumns == 1 ? 4
                                                 : 2;
  static_assert((kStages<1> - 1) * kProducts * kPairedColumns <= kTilesAhead);
  template <int kColumns>
  using Weights = PerLane<typename Matrix<T>::B>[kProducts][kColumns];

  template <Ending kEnding, int kRows, int kColumns>
  DENOISED_HOST_DEVICE void ConvolveTiles(int tile_rows) const {
    const int row_jobs = tile_rows / kRows, column_jobs = operation_.column_tiles / kColumns;
    const int log2_row_jobs = Log2(row_jobs), log2_column_jobs = Log2(column_jobs);
    ForEachWarp([&](int warp) {
      DENOISED_UNROLL(1)
      for (int job = warp; job < row_jobs * column_jobs << operation_.log2_splits; job += kWarps) {
        const int tile_row = (job & (row_jobs - 1)) * kRows, rest = job >> log2_row_jobs;
        const int tile_column = (rest & (column_jobs - 1)) * kColumns, split = rest >> log2_column_jobs;
        TileSums<kRows, kColumns> sums;
        if (split == 0) SetToBias<kEnding, kRows, kColumns>(tile_column, sums);
        DENOISED_UNROLL(1)
        for (int source = 0; source < 2; ++source) {
          SumTiles<kRows, kColumns>(source, tile_row, tile_column, split, sums);
        }
        if constexpr (kEnding == Ending::kPartials) {
          StorePartials<kRows, kColumns>(tile_row, tile_column, split, sums);
        } else if constexpr (kEnding == Ending::kOther) {
          StoreOther<kRows>(tile_row, tile_column, sums);
        } else if (operation_.add) {
          StoreLayer<true, kRows, kColumns>(tile_row, tile_column, sums);
        } else {
          StoreLayer<false, kRows, kColumns>(tile_row, tile_column, sums);
        }
      }
    });
  }

  // sums += the split's part of what source a (0) or b (1) contributes.
  template <int kRows, int kColumns>
  DENOISED_HOST_DEVICE void SumTiles(int source, int tile_row, int tile_column, int split,
                                     TileSums<kRows, kColumns>& sums) const {
    const Layout in = Input(operation_, source);
    if (in.channels == 0) return;
    const int log2_portions = Log2(in.channels / kChannelUnit);  // of an element of the kernel
    const int portions = operation_.kernel_size * operation_.kernel_size << log2_portions;
    const int first = portions * split >> operation_.log2_splits;
    int left = (portions * (split + 1) >> operation_.log2_splits) - first;
    if (left == 0) return;

    const int depth = operation_.depth, before = source == 0 ? 0 : operation_.depth_a;
    const T* tiles = block_.arguments().weights + operation_.weights * kTileValues +
                     ((tile_column / kPairedColumns * depth + before + first * kPortionTiles) * kPairedColumns +
                      tile_column % kPairedColumns) *
                         kTileValues;
    Weights<kColumns> weights[kStages<kColumns>];
    DENOISED_UNROLL(4)
    for (int stage = 0; stage < kStages<kColumns> - 1; ++stage) LoadWeights<kColumns>(tiles, weights[stage]);

    const int first_tap = first >> log2_portions;
    int channel = (first - (first_tap << log2_portions)) * kChannelUnit;
    Pixels<kRows> pixels;
    FindPixels<kRows>(in, tile_row, pixels);
    Tap tap = FindTap(in, first_tap);
    Places<kRows> places;
    Shift<kRows>(tap, pixels, places);
    for (;;) {
      DENOISED_UNROLL(4)
      for (int stage = 0; stage < kStages<kColumns>; ++stage) {
        constexpr int kAhead = kStages<kColumns> - 1;
        LoadWeights<kColumns>(tiles, weights[(stage + kAhead) % kStages<kColumns>]);
        Multiply<kRows, kColumns>(places, channel, weights[stage], sums);
        channel += kProducts * kTileDepth;
        if ((kProducts == kPortionTiles || channel % kChannelUnit == 0) && --left == 0) return;
        if (channel == in.channels) {
          channel = 0;
          tap.Next();
          Shift<kRows>(tap, pixels, places);
        }
      }
    }
  }

  // The weights of the next products, which end where `tiles` is then.
  template <int kColumns>
  static DENOISED_HOST_DEVICE void LoadWeights(const T*& tiles, Weights<kColumns>& to) {
    static_assert(kColumns <= kPairedColumns);
    DENOISED_UNROLL(kProducts)
    for (int product = 0; product < kProducts; ++product) {
      DENOISED_UNROLL(kColumns)
      for (int column = 0; column < kColumns; ++column) {
        const T* tile = tiles + (product * kPairedColumns + column) * kTileValues;
        ForEachLane([&](int lane) { to[product][column][lane] = Matrix<T>::LoadB(tile, lane); });
      }
    }
    tiles += kProducts * kPairedColumns * kTileValues;
  }

  template <int kRows>
  DENOISED_HOST_DEVICE void FindPixels(const Layout& source, int tile_row, Pixels<kRows>& pixels) const {
    const int log2_size = operation_.log2_size, mask = (1 << log2_size) - 1;
    const int log2_input = log2_size + operation_.log2_stride, size = 1 << log2_input;
    const int margin = operation_.kernel_size / 2, shift = log2_input - source.log2_size;
    DENOISED_UNROLL(kRows)
    for (int row = 0; row < kRows; ++row) {
      ForEachLane([&](int lane) {
        const int index = (tile_row + row) * kTilePixels + RowOfLane(lane);
        const int line = ((index >> log2_size & mask) << operation_.log2_stride) - margin;
        const int column = ((index & mask) << operation_.log2_stride) - margin;
        // NOTE: only a kernel of one element, which has no margin, reads an enlarged layout.
        pixels[row][lane].place = block_.PlaceOf(index >> 2 * log2_size) + source.offset +
                                  (((line >> shift) << source.log2_size) + (column >> shift)) * source.stride +
                                  ChannelOfLane(lane);
        pixels[row][lane].inside = operation_.kernel_size == 1 ? 1 : Inside(line, column, size);
      });
    }
  }

  // Pixel::inside of a kernel of 3 x 3 elements that begins at (line, column), of which the one in the middle is
  // inside.
  static DENOISED_HOST_DEVICE uint32_t Inside(int line, int column, int size) {
    const uint32_t columns = uint32_t{column >= 0} | 2u | uint32_t{column + 2 < size} << 2;
    return (line >= 0 ? columns : 0) | columns << 3 | (line + 2 < size ? columns << 6 : 0);
  }

  // An element of the kernel.
  struct Tap {
    static constexpr uint32_t kLast = 0b100100100;  // those that are the last of their lines

    int distance = 0;              // of its pixels from those of the first, in values
    uint32_t bit = 1;              // of Pixel::inside
    int to_next = 0, to_line = 0;  // the way to the next element, in a line and from a last to the next line

    DENOISED_HOST_DEVICE void Next() {
      distance += (bit & kLast) != 0 ? to_line : to_next;
      bit <<= 1;
    }
  };

  DENOISED_HOST_DEVICE Tap FindTap(const Layout& source, int index) const {
    const int line = index * 11 >> 5;  // index / 3
    const int of_line = source.stride << source.log2_size;
    return {.distance = line * of_line + (index - 3 * line) * source.stride,
            .bit = 1u << index,
            .to_next = source.stride,
            .to_line = of_line - 2 * source.stride};
  }

  // Where the pixels of the kernel's element `tap` are; or zeros.
  template <int kRows>
  DENOISED_HOST_DEVICE void Shift(const Tap& tap, Pixels<kRows>& pixels, Places<kRows>& places) const {
    DENOISED_UNROLL(kRows)
    for (int row = 0; row < kRows; ++row) {
      ForEachLane([&](int lane) {
        const Pixel& pixel = pixels[row][lane];
        const int place = pixel.place + tap.distance;
        // Zeros in those banks of the memory where the pixel would have been: no other lane reads there.
        places[row][lane] = (pixel.inside & tap.bit) != 0 ? place : block_.zeros() + (place & (kBankValues - 1));
      });
    }
  }

  // sums += the pixels' channels from `channel` on, times their weights.
  template <int kRows, int kColumns>
  DENOISED_HOST_DEVICE void Multiply(Places<kRows>& places, int channel, Weights<kColumns>& weights,
                                     TileSums<kRows, kColumns>& sums) const {
    PerLane<typename Matrix<T>::A> a[kProducts][kRows];
    DENOISED_UNROLL(kProducts)
    for (int product = 0; product < kProducts; ++product) {
      DENOISED_UNROLL(kRows)
      for (int row = 0; row < kRows; ++row) {
        Matrix<T>::template LoadA<BlockType::kActivationsInSharedMemory>(
            block_.activations(), places[row], channel + product * kTileDepth, a[product][row]);
      }
    }
    DENOISED_UNROLL(kProducts)
    for (int product = 0; product < kProducts; ++product) {
      DENOISED_UNROLL(kColumns)
      for (int column = 0; column < kColumns; ++column) {
        DENOISED_UNROLL(kRows)
        for (int row = 0; row < kRows; ++row) {
          Matrix<T>::MultiplyAdd(block_.activations(), a[product][row], weights[product][column], sums[row][column]);
        }
      }
    }
  }

  // ---- What becomes of the sums ----

  template <Ending kEnding, int kRows, int kColumns>
  DENOISED_HOST_DEVICE void SetToBias(int tile_column, TileSums<kRows, kColumns>& sums) const {
    const float* biases = block_.arguments().constants + operation_.bias;
    ForEachLane([&](int lane) {
      DENOISED_UNROLL(kColumns)
      for (int column = 0; column < kColumns; ++column) {
        DENOISED_UNROLL(2)
        for (int i = 0; i < 8; i += 4) {
          const int channel = (tile_column + column) * kTileChannels + TileColumn(lane, i);
          // Layers have so many channels that tiles are full.
          if (kEnding == Ending::kOther && channel >= operation_.out_channels) continue;
          const Values<2> bias = LoadValues<2>(biases + channel);
          DENOISED_UNROLL(kRows)
          for (int row = 0; row < kRows; ++row) {
            float* c = sums[row][column][lane].c + i;
            c[0] = c[2] = bias.v[0];
            c[1] = c[3] = bias.v[1];
          }
        }
      }
    });
  }

  // Of a layer: the tiles' pixels are of one row of the network.
  template <bool kAdd, int kRows, int kColumns>
  DENOISED_HOST_DEVICE void StoreLayer(int tile_row, int tile_column, TileSums<kRows, kColumns>& sums) const {
    ForEachLane([&](int lane) {
      const int log2_pixels = 2 * operation_.log2_size, index = tile_row * kTilePixels + TileRow(lane, 0);
      T* to = block_.activations() + block_.PlaceOf(index >> log2_pixels) + operation_.out.offset +
              (index & ((1 << log2_pixels) - 1)) * operation_.out.stride + tile_column * kTileChannels +
              TileColumn(lane, 0);
      DENOISED_UNROLL(kRows)
      for (int row = 0; row < kRows; ++row) {
        DENOISED_UNROLL(2)
        for (int first = 0; first < 4; first += 2) {
          DENOISED_UNROLL(kColumns)
          for (int column = 0; column < kColumns; ++column) {
            DENOISED_UNROLL(2)
            for (int i = first; i < 8; i += 4) {
              const float* c = sums[row][column][lane].c + i;
              Store<kAdd, 2>({{c[0], c[1]}}, to + column * kTileChannels + i / 4 * 8);
            }
          }
          to += 8 * operation_.out.stride;
        }
      }
    });
  }

  template <bool kAdd, int kCount>
  static DENOISED_HOST_DEVICE void Store(Values<kCount> values, T* to) {
    if constexpr (kAdd) {
      const Values<kCount> before = LoadValues<kCount>(to);
      DENOISED_UNROLL(kCount)
      for (int k = 0; k < kCount; ++k) values.v[k] += before.v[k];
    }
    StoreValues(values, to);
  }

  // To e, or each pixel to four.
  template <int kRows>
  DENOISED_HOST_DEVICE void StoreOther(int tile_row, int tile_column, TileSums<kRows, 1>& sums) const {
    ForEachLane([&](int lane) {
      const int log2_size = operation_.log2_size, log2_channels = Log2(operation_.out_channels / 4);
      DENOISED_UNROLL(kRows)
      for (int tile = 0; tile < kRows; ++tile) {
        DENOISED_UNROLL(4)
        for (int i = 0; i < 8; i += 2) {
          const int index = (tile_row + tile) * kTilePixels + TileRow(lane, i), row = index >> 2 * log2_size;
          const int pixel = index & ((1 << 2 * log2_size) - 1);
          const int line = pixel >> log2_size, column = pixel & ((1 << log2_size) - 1);
          const int channel = tile_column * kTileChannels + TileColumn(lane, i);
          if (channel >= operation_.out_channels) continue;
          const Values<2> pair = {{sums[tile][0][lane].c[i], sums[tile][0][lane].c[i + 1]}};
          if (operation_.predicts_noise) {
            StoreNoise(row, line, column, channel, pair);
            continue;
          }
          const int corner = channel >> log2_channels;
          StoreValues(pair, block_.activations() + block_.PlaceOf(row) +
                                PlaceOfPixel(operation_.out, operation_.out.log2_size, 2 * line + corner / 2,
                                             2 * column + corner % 2) +
                                (channel & ((1 << log2_channels) - 1)));
        }
      }
    });
  }

  // To e, the network's output.
  DENOISED_HOST_DEVICE void StoreNoise(int row, int line, int column, int channel, const Values<2>& pair) const {
    for (int k = 0; k < 2 && channel + k < operation_.out_channels; ++k) {
      const int corner = channel + k, scale = operation_.spread ? 2 : 1;
      block_.OutputOf(row)[(scale * line + corner / 2) * kModelSize + scale * column + corner % 2] = pair.v[k];
    }
  }

  // ---- Sums that several warps share: of layers of 16 pixels a row ----

  DENOISED_HOST_DEVICE float* PartialsOf(int row, int split) const {
    return reinterpret_cast<float*>(block_.activations() + block_.PlaceOf(row) + operation_.partials) +
           split * kTilePixels * PartialsStride(operation_.column_tiles);
  }

  template <int kRows, int kColumns>
  DENOISED_HOST_DEVICE void StorePartials(int tile_row, int tile_column, int split,
                                          TileSums<kRows, kColumns>& sums) const {
    ForEachLane([&](int lane) {
      DENOISED_UNROLL(kRows)
      for (int row = 0; row < kRows; ++row) {
        float* to = PartialsOf(tile_row + row, split);
        DENOISED_UNROLL(kColumns)
        for (int column = 0; column < kColumns; ++column) {
          DENOISED_UNROLL(4)
          for (int i = 0; i < 8; i += 2) {
            const float* c = sums[row][column][lane].c + i;
            StoreValues<2>({{c[0], c[1]}}, to + TileRow(lane, i) * PartialsStride(operation_.column_tiles) +
                                               (tile_column + column) * kTileChannels + TileColumn(lane, i));
          }
        }
      }
    });
  }

  // The outputs: each thread has four channels of some pixels.
  DENOISED_HOST_DEVICE void AddPartials() const {
    ForEachThread([&](int thread) {
      const int quads = operation_.out_channels / 4, log2_quads = Log2(quads);
      const int stride = PartialsStride(operation_.column_tiles);
      for (int i = thread; i < block_.num_rows() * kTilePixels * quads; i += kThreads) {
        const int channel = (i & (quads - 1)) * 4, index = i >> log2_quads;
        const int row = index / kTilePixels, pixel = index % kTilePixels;
        Values<4> sum;
        for (int split = 0; split < 1 << operation_.log2_splits; ++split) {
          const Values<4> part = LoadValues<4>(PartialsOf(row, split) + pixel * stride + channel);
          for (int k = 0; k < 4; ++k) sum.v[k] += part.v[k];
        }
        T* to = block_.activations() + block_.PlaceOf(row) + operation_.out.offset + pixel * operation_.out.stride +
                channel;
        operation_.add ? Store<true, 4>(sum, to) : Store<false, 4>(sum, to);
      }
    });
  }

  const BlockType& block_;
  const Operation operation_;  // a copy: what is stored might lie in the original
};

}  // namespace denoised::cuda_step

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_CONVOLUTION_H_
