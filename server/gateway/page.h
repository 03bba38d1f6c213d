// File: page.h
//
// The page that people see: the files of page/, which are part of the program.
//
//   AddPage(routes);   // "/" and "/page.js" and so on
//
// Pure and thread-safe.
#ifndef DENOISED_SERVER_GATEWAY_PAGE_H_
#define DENOISED_SERVER_GATEWAY_PAGE_H_

#include <string_view>
#include <vector>

#include "server/http/http_routes.h"

namespace denoised {

struct PageFile {
  std::string_view name;  // "index.html"
  std::string_view content;
};
const std::vector<PageFile>& PageFiles();

// Each file at "/NAME", index.html at "/". Browsers are told to load nothing from elsewhere.
void AddPage(HttpRoutes& routes);

}  // namespace denoised

#endif  // DENOISED_SERVER_GATEWAY_PAGE_H_
