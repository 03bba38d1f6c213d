// File: progress_bar.h
//
// One line that says how far long work is. Formatting is a pure function; printing goes to stderr, rewritten in place
// on a terminal and left out elsewhere, where the lines that stay say enough.
#ifndef DENOISED_COMMON_COMMAND_LINE_PROGRESS_BAR_H_
#define DENOISED_COMMON_COMMAND_LINE_PROGRESS_BAR_H_

#include <string>

namespace denoised {

// "[#########-----------]  45%" for 0.456; the bar proper has `width` columns.
std::string FormatBar(double fraction, int width = 20);

// Shows a line on stderr in place of the last one, cut where the terminal ends; does nothing when stderr is no terminal
// that can write over it.
void ShowProgress(const std::string& line);

// Removes the line again, before other output.
void ClearProgress();

}  // namespace denoised

#endif  // DENOISED_COMMON_COMMAND_LINE_PROGRESS_BAR_H_
