#include "common/support/number_text.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace denoised {

std::string ExactText(double number) {
  std::string text = absl::StrCat(number);
  double read = 0;
  if (absl::SimpleAtod(text, &read) && read == number) return text;
  return absl::StrFormat("%.17g", number);
}

}  // namespace denoised
