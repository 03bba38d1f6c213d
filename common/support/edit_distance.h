// File: edit_distance.h
//
// Which word was meant by one that is not known.
//
//   Nearest("helth", {"bench", "health"}, 2);  // "health"
//
// Pure functions.
#ifndef DENOISED_COMMON_SUPPORT_EDIT_DISTANCE_H_
#define DENOISED_COMMON_SUPPORT_EDIT_DISTANCE_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace denoised {

// Letters by which a word may be off and still be taken for another one that was mistyped.
inline constexpr size_t kSlips = 2;

// How many letters must be put in, taken out, changed or exchanged with their neighbours to make `b` of `a`, whatever
// their case (Damerau and Levenshtein, optimal string alignment). Takes a.size() times b.size() steps.
size_t EditDistance(std::string_view a, std::string_view b);

// The first of the words that are nearest to this one, at a distance of at most `most`; empty if none is.
std::string Nearest(std::string_view word, const std::vector<std::string>& words, size_t most);

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_EDIT_DISTANCE_H_
