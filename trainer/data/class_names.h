// File: class_names.h
//
// What the classes of a data set are called.
//
//   absl::StatusOr<std::vector<std::string>> names = ReadClassNames("data/class_names.txt");
//   absl::StatusOr<std::vector<std::string>> given = ParseClassNames("--class_names", "T-shirt,Trouser,Pullover");
//
// Thread-safe.
#ifndef DENOISED_TRAINER_DATA_CLASS_NAMES_H_
#define DENOISED_TRAINER_DATA_CLASS_NAMES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace denoised {

// Labels are bytes.
inline constexpr size_t kMostClasses = 256;
inline constexpr size_t kLongestClassName = 64;  // bytes

// The names "0", "1", ... of so many classes.
std::vector<std::string> NumbersAsNames(size_t classes);

// INVALID_ARGUMENT, beginning with `source`, unless there are 1 to kMostClasses names, all different, none of them
// empty, longer than kLongestClassName or with control characters.
absl::Status CheckClassNames(const std::string& source, const std::vector<std::string>& names);

// Names with commas between them, without the blanks around them. The errors of CheckClassNames.
absl::StatusOr<std::vector<std::string>> ParseClassNames(const std::string& source, const std::string& text);

// A file with a name in each line, that of class 0 first. The errors of ReadFile and CheckClassNames.
absl::StatusOr<std::vector<std::string>> ReadClassNames(const std::string& path);

}  // namespace denoised

#endif  // DENOISED_TRAINER_DATA_CLASS_NAMES_H_
