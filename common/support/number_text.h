// File: number_text.h
//
// Numbers as text that says no less than they do.
//
//   ExactText(2e-4);         // "0.0002"
//   ExactText(0.99999999);   // "0.99999998999999995"
//
// Thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_NUMBER_TEXT_H_
#define DENOISED_COMMON_SUPPORT_NUMBER_TEXT_H_

#include <string>

namespace denoised {

// Six digits where they give the number to its last bit, else seventeen.
std::string ExactText(double number);

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_NUMBER_TEXT_H_
