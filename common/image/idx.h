// File: idx.h
//
// Headers of IDX files, MNIST's format: http://yann.lecun.com/exdb/mnist/, "FILE FORMATS FOR THE MNIST DATABASE".
//
//   const std::string images = IdxHeader({count, 28, 28}) + pixels;   // count * 28 * 28 bytes
//   const std::string labels = IdxHeader({count}) + digits;           // count bytes
//
// Pure and thread-safe.
#ifndef DENOISED_COMMON_IMAGE_IDX_H_
#define DENOISED_COMMON_IMAGE_IDX_H_

#include <cstdint>
#include <string>
#include <vector>

namespace denoised {

// Of unsigned bytes: a magic number that says so and how many dimensions there are, and the dimensions, big-endian.
std::string IdxHeader(const std::vector<uint32_t>& dimensions);

}  // namespace denoised

#endif  // DENOISED_COMMON_IMAGE_IDX_H_
