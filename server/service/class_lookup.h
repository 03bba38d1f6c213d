// File: class_lookup.h
//
// A model's classes, as those who ask for them call them.
//
//   const std::optional<int> label = FindClass(model.class_names, "sneaker");     // 7
//   if (!label.has_value()) Refuse(UnknownClassText(model.class_names, "sneaker"));
//
// Texts have a few hundred bytes, whatever the names are and whatever was asked for, and no control characters.
//
// Pure and thread-safe.
#ifndef DENOISED_SERVER_SERVICE_CLASS_LOOKUP_H_
#define DENOISED_SERVER_SERVICE_CLASS_LOOKUP_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace denoised {

// The number of the class of exactly this name, or of the only one that differs in nothing but the case of ASCII
// letters; nothing if there is none, or several.
std::optional<int> FindClass(const std::vector<std::string>& class_names, std::string_view name);

// What to say where FindClass finds nothing: `must be one of "cat" and "dog", got "dgo"; did you mean "dog"?`
std::string UnknownClassText(const std::vector<std::string>& class_names, std::string_view name);

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVICE_CLASS_LOOKUP_H_
