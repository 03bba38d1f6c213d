// File: cuda_convolution.h
//
// A convolution of a block's images as a product of matrices, [pixels, kernel^2 * in] times [kernel^2 * in, out]:
//
//   Convolution<T>(block, operation).Run();
//
// Each warp sums tiles of 16 * kRows pixels and 8 * kColumns output channels. An output is summed by one warp in one
// order, whatever the tiles' size: for each element of the kernel the channels of a, then those of b.
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

// A warp's way through the weights of kColumns columns of tiles, a few products at a time. Weights come from far: those
// of the next few products are on their way while these are computed. fp32, which is for comparison, has no registers
// to spare for that.
template <typename T, int kColumns>
class WeightReader {
 public:
  static constexpr bool kReadAhead = std::is_same_v<T, Half>;
  static constexpr int kProducts = kReadAhead ? kTilesAhead / kColumns : 1;  // at a time, at most
  using Tiles = PerLane<typename Matrix<T>::B>[kProducts][kColumns];

  DENOISED_HOST_DEVICE WeightReader(const T* tiles, int64_t column_stride)
      : tiles_(tiles), column_stride_(column_stride) {
    if constexpr (kReadAhead) Load(tiles_, ahead_);
  }

  // The weights of the next `products` products.
  DENOISED_HOST_DEVICE void Read(int products, Tiles& to) {
    if constexpr (kReadAhead) {
      DENOISED_UNROLL(kProducts)
      for (int product = 0; product < kProducts; ++product) {
        DENOISED_UNROLL(kColumns)
        for (int column = 0; column < kColumns; ++column) to[product][column] = ahead_[product][column];
      }
      Load(tiles_ + products * kTileValues, ahead_);
    } else {
      Load(tiles_, to);
    }
    tiles_ += products * kTileValues;
  }

 private:
  DENOISED_HOST_DEVICE void Load(const T* tiles, Tiles& to) const {
    DENOISED_UNROLL(kProducts)
    for (int product = 0; product < kProducts; ++product) {
      DENOISED_UNROLL(kColumns)
      for (int column = 0; column < kColumns; ++column) {
        const T* tile = tiles + column * column_stride_ + product * kTileValues;
        ForEachLane([&](int lane) { to[product][column][lane] = Matrix<T>::LoadB(tile, lane); });
      }
    }
  }

  const T* tiles_;
  const int64_t column_stride_;  // in values
  Tiles ahead_;
};

// `index` counts the output's pixels, through all of the block's images.
template <typename T>
class Convolution {
 public:
  DENOISED_HOST_DEVICE Convolution(const Block<T>& block, const Operation& operation)
      : block_(block), operation_(operation) {}

  DENOISED_HOST_DEVICE void Run() const {
    // Larger shares of a warp read less; but every warp shall have one. Their size does not change a sum.
    const int rows = block_.num_rows() << 2 * operation_.log2_size >> 4, columns = operation_.column_tiles;
    const bool two = rows % 2 == 0;
    if (columns % 4 == 0 && two && rows * columns >= 8 * kWarps) return ConvolveTiles<2, 4>(rows);
    if (columns % 4 == 0 && rows * columns >= 4 * kWarps) return ConvolveTiles<1, 4>(rows);
    if (columns % 2 == 0 && two && rows * columns >= 4 * kWarps) return ConvolveTiles<2, 2>(rows);
    if (columns % 2 == 0 && rows * columns >= 2 * kWarps) return ConvolveTiles<1, 2>(rows);
    ConvolveTiles<1, 1>(rows);
  }

 private:
  template <int kRows, int kColumns>
  using TileSums = PerLane<Sums>[kRows][kColumns];
  template <int kRows>
  using Pixels = PerLane<PixelPair<T>>[kRows];

  template <int kRows, int kColumns>
  DENOISED_HOST_DEVICE void ConvolveTiles(int tile_rows) const {
    ForEachWarp([&](int warp) {
      const int row_jobs = tile_rows / kRows, column_jobs = operation_.column_tiles / kColumns;
      for (int job = warp; job < row_jobs * column_jobs; job += kWarps) {
        const int tile_row = job % row_jobs * kRows, tile_column = job / row_jobs * kColumns;
        TileSums<kRows, kColumns> sums;
        SumTiles(tile_row, tile_column, sums);
        StoreTiles(tile_row, tile_column, sums);
      }
    });
  }

  template <int kRows, int kColumns>
  DENOISED_HOST_DEVICE void SumTiles(int tile_row, int tile_column, TileSums<kRows, kColumns>& sums) const {
    using Reader = WeightReader<T, kColumns>;
    const int depth = (operation_.a.channels + operation_.b.channels) / kTileDepth;
    const int taps = operation_.kernel_size * operation_.kernel_size;
    const int64_t column_stride = int64_t{depth} * taps * kTileValues;
    Reader weights(block_.arguments().weights + operation_.weights * kTileValues + tile_column * column_stride,
                   column_stride);
    for (int tap = 0; tap < taps; ++tap) {
      for (int source = 0; source < 2; ++source) {
        const Layout in = Input(operation_, source);
        if (in.channels == 0) continue;
        Pixels<kRows> pixels;
        FindPixels(in, tile_row, tap, pixels);
        for (int channel = 0; channel < in.channels; channel += Reader::kProducts * kTileDepth) {
          const int left = (in.channels - channel) / kTileDepth;
          const int products = left < Reader::kProducts ? left : Reader::kProducts;
          typename Reader::Tiles b;
          weights.Read(products, b);
          Multiply(pixels, channel, products, b, sums);
        }
      }
    }
  }

  // Where the input is that element `tap` of the kernel multiplies, for each pixel of the tiles.
  template <int kRows>
  DENOISED_HOST_DEVICE void FindPixels(const Layout& source, int tile_row, int tap, Pixels<kRows>& pixels) const {
    DENOISED_UNROLL(kRows)
    for (int row = 0; row < kRows; ++row) {
      ForEachLane([&](int lane) {
        DENOISED_UNROLL(2)
        for (int i = 0; i < 2; ++i) {
          pixels[row][lane].pixel[i] = InputPixel(source, (tile_row + row) * kTilePixels + TileRow(lane, 2 * i),
                                                  tap / operation_.kernel_size, tap % operation_.kernel_size);
        }
      });
    }
  }

  // The same for one pixel of the output and the kernel's element (kernel_line, kernel_column); null: outside the
  // image.
  DENOISED_HOST_DEVICE const T* InputPixel(const Layout& source, int index, int kernel_line, int kernel_column) const {
    const int log2_size = operation_.log2_size, log2_input = log2_size + operation_.log2_stride;
    const int row = index >> 2 * log2_size;
    const int line = (index >> log2_size & ((1 << log2_size) - 1)) << operation_.log2_stride;
    const int column = (index & ((1 << log2_size) - 1)) << operation_.log2_stride;
    const int margin = operation_.kernel_size / 2, size = 1 << log2_input;
    const int from_line = line + kernel_line - margin, from_column = column + kernel_column - margin;
    if (from_line < 0 || from_line >= size || from_column < 0 || from_column >= size) return nullptr;
    return PixelOf(static_cast<const T*>(block_.ActivationsOf(row)), source, log2_input, from_line, from_column);
  }

  // sums += the pixels' channels from `channel` on, 16 for each of the products, times their weights.
  template <int kRows, int kColumns, int kProducts = WeightReader<T, kColumns>::kProducts>
  static DENOISED_HOST_DEVICE void Multiply(Pixels<kRows>& pixels, int channel, int products,
                                            typename WeightReader<T, kColumns>::Tiles& b,
                                            TileSums<kRows, kColumns>& sums) {
    DENOISED_UNROLL(kProducts)
    for (int product = 0; product < kProducts; ++product) {
      if (product >= products) continue;
      PerLane<typename Matrix<T>::A> a[kRows];
      DENOISED_UNROLL(kRows)
      for (int row = 0; row < kRows; ++row) {
        ForEachLane([&](int lane) {
          a[row][lane] = Matrix<T>::LoadA(pixels[row][lane], channel + product * kTileDepth, lane);
        });
      }
      DENOISED_UNROLL(kColumns)
      for (int column = 0; column < kColumns; ++column) {
        DENOISED_UNROLL(kRows)
        for (int row = 0; row < kRows; ++row) Matrix<T>::MultiplyAdd(a[row], b[product][column], sums[row][column]);
      }
    }
  }

  template <int kRows, int kColumns>
  DENOISED_HOST_DEVICE void StoreTiles(int tile_row, int tile_column, TileSums<kRows, kColumns>& sums) const {
    ForEachLane([&](int lane) {
      DENOISED_UNROLL(kRows)
      for (int row = 0; row < kRows; ++row) {
        DENOISED_UNROLL(kColumns)
        for (int column = 0; column < kColumns; ++column) {
          DENOISED_UNROLL(2)
          for (int i = 0; i < 4; i += 2) {
            const float* c = sums[row][column][lane].c + i;
            StoreOutputs((tile_row + row) * kTilePixels + TileRow(lane, i),
                         (tile_column + column) * kTileChannels + TileColumn(lane, i), {{c[0], c[1]}});
          }
        }
      }
    });
  }

  // Outputs `channel`, an even one, and the next of a pixel.
  DENOISED_HOST_DEVICE void StoreOutputs(int index, int channel, Pair pair) const {
    const int log2_size = operation_.log2_size, row = index >> 2 * log2_size;
    const int line = index >> log2_size & ((1 << log2_size) - 1), column = index & ((1 << log2_size) - 1);
    if (operation_.predicts_noise) return StoreNoise(row, line, column, channel, pair);
    // Of layers there are even numbers of channels.
    if (channel < operation_.out_channels) StoreLayer(row, line, column, channel, pair);
  }

  // To e, the network's output.
  DENOISED_HOST_DEVICE void StoreNoise(int row, int line, int column, int channel, const Pair& pair) const {
    for (int k = 0; k < 2 && channel + k < operation_.out_channels; ++k) {
      const int corner = channel + k, scale = operation_.spread ? 2 : 1;
      block_.OutputOf(row, block_.pass())[(scale * line + corner / 2) * kModelSize + scale * column + corner % 2] =
          pair.values[k] + BiasOf(channel + k);
    }
  }

  DENOISED_HOST_DEVICE void StoreLayer(int row, int line, int column, int channel, Pair pair) const {
    const int channels = operation_.spread ? operation_.out_channels / 4 : operation_.out_channels;
    const int corner = channel / channels;  // of the four pixels
    T* to = PixelOf(block_.ActivationsOf(row), operation_.out, operation_.out.log2_size,
                    operation_.spread ? 2 * line + corner / 2 : line,
                    operation_.spread ? 2 * column + corner % 2 : column) +
            channel % channels;
    const Pair before = operation_.add ? LoadPair(to) : Pair{{0, 0}};
    DENOISED_UNROLL(2)
    for (int k = 0; k < 2; ++k) {
      const float value = pair.values[k] + BiasOf(channel + k);
      pair.values[k] = operation_.add ? before.values[k] + value : value;
    }
    StorePair(pair, to);
  }

  DENOISED_HOST_DEVICE float BiasOf(int channel) const {
    return block_.arguments().constants[operation_.bias + channel];
  }

  const Block<T>& block_;
  const Operation& operation_;
};

}  // namespace denoised::cuda_step

#endif  // DENOISED_COMMON_ENGINE_CUDA_CUDA_CONVOLUTION_H_
