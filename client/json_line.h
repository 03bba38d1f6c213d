// File: json_line.h
//
// What --json prints.
//
//   absl::PrintF("%s\n", JsonLine({{"file", path}}));
#ifndef DENOISED_CLIENT_JSON_LINE_H_
#define DENOISED_CLIENT_JSON_LINE_H_

#include <nlohmann/json.hpp>
#include <string>

namespace denoised {

// In one line. JSON is UTF-8, and names of files need not be: what is none becomes U+FFFD.
inline std::string JsonLine(const nlohmann::ordered_json& json) {
  return json.dump(/*indent=*/-1, /*indent_char=*/' ', /*ensure_ascii=*/false,
                   nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace denoised

#endif  // DENOISED_CLIENT_JSON_LINE_H_
