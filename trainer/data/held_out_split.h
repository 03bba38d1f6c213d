// File: held_out_split.h
//
// A part of a training set that the judges never learn from, nor a model that is told to leave it out
// (--validation_images): figures and choices are made on it, so that the test set is opened once. Everyone who asks
// gets the same images.
//
//   const Dataset mnist = *LoadMnist("data", Split::kTrain, {});
//   const SplitIndices split = *HeldOutSplit(mnist.labels, kHeldOutImages);
//   const Dataset learnt = Subset(mnist, split.kept), unseen = Subset(mnist, split.held_out);
//
// The rule, for N images of which `count` are to be held out, needs no random generator and can be checked in any
// language:
//
//   1. Class c with n_c images gives up count * n_c / N of them, rounded down. What is missing to `count` comes one
//      image each from the classes with the largest remainders, of equal ones from the lower class.
//   2. Within its class, image i stands where the SHA-256 of the text "held out <i>" puts it, as "held out 42" for
//      image 42, counted from 0 in the file. The lowest ones are held out.
//
// Pure and thread-safe.
#ifndef DENOISED_TRAINER_DATA_HELD_OUT_SPLIT_H_
#define DENOISED_TRAINER_DATA_HELD_OUT_SPLIT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/dataset.h"

namespace denoised {

// Of MNIST's 60,000 training images: as many as its test set has.
inline constexpr int64_t kHeldOutImages = 10'000;

// As many as the judges never see (judges.h), of a training set with so many images: kHeldOutImages, or a sixth of a
// smaller set.
inline constexpr int64_t JudgesHeldOut(int64_t images) {
  return images / 6 < kHeldOutImages ? images / 6 : kHeldOutImages;
}

// 0 to `count` - 1 in an order as good as random and always the same: by the SHA-256 of "<purpose> <i>".
std::vector<int64_t> MixedOrder(int64_t count, const std::string& purpose);

// Places in a data set, from 0, ascending. Every image is in one of the two.
struct SplitIndices {
  std::vector<int64_t> kept;
  std::vector<int64_t> held_out;
};

// Divides the images of these labels [N]. Depends on labels and count alone: not on pixels, seeds or threads.
// INVALID_ARGUMENT where count is not 0 to N - 1.
absl::StatusOr<SplitIndices> HeldOutSplit(const std::vector<uint8_t>& labels, int64_t count);

// Those images of `data`, in that order; `class_names` stay, and `sha256` that of the files that they are from. Every
// index is 0 to data.size() - 1.
Dataset Subset(const Dataset& data, const std::vector<int64_t>& indices);

}  // namespace denoised

#endif  // DENOISED_TRAINER_DATA_HELD_OUT_SPLIT_H_
