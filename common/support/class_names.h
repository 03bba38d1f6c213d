// File: class_names.h
//
// Classes go by number or by name, and a model of digits has classes that are called by their numbers.
//
//   AreCalledByNumber({"0", "1", "2"});   // true
//   IsClassNumber("7");                   // true: it is the class's number, whatever the classes are called
//
// Pure and thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_CLASS_NAMES_H_
#define DENOISED_COMMON_SUPPORT_CLASS_NAMES_H_

#include <string>
#include <string_view>
#include <vector>

namespace denoised {

// Whether each class is called by its number, as digits are.
bool AreCalledByNumber(const std::vector<std::string>& class_names);

// Whether a text that may be a class's number or its name is the number, which a hyphen may precede in error.
bool IsClassNumber(std::string_view text);

// `"cat", "dog" and 45 more`, or with their numbers `0 "cat", 1 "dog" and 45 more`: ten at most, quoted.
std::string ListClasses(const std::vector<std::string>& class_names, bool with_numbers);

// "a, b and c", or with another last word.
std::string Enumerated(const std::vector<std::string>& parts, const char* last_word);

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_CLASS_NAMES_H_
