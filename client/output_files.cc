#include "client/output_files.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/support/file.h"
#include "common/support/quoted.h"
#include "common/support/status_macros.h"
#include "common/support/utf8.h"

namespace denoised {

namespace fs = std::filesystem;

namespace {

constexpr char kStdout[] = "-";
constexpr char kEnding[] = ".png";

// By a file's ending; of all others it is a PNG, or refused.
OutputFormat FormatOf(const std::string& extension) {
  if (absl::EqualsIgnoreCase(extension, ".gif")) return OutputFormat::kGif;
  return absl::EqualsIgnoreCase(extension, ".apng") ? OutputFormat::kApng : OutputFormat::kPng;
}

// "-0050" and the like.
bool IsNumber(absl::string_view text) {
  return text.size() > 1 && text[0] == '-' && text.find_first_not_of("0123456789", 1) == absl::string_view::npos;
}

}  // namespace

// NOTE: the case stays: a model of letters may have both "a" and "A".
std::string FileSafe(std::string_view name) {
  constexpr size_t kMaxBytes = 64;  // as long as a class's name can be
  std::string safe;
  while (!name.empty() && safe.size() < kMaxBytes) {
    const size_t size = LetterBytes(name);
    const std::string_view letter = name.substr(0, std::max<size_t>(size, 1));
    name.remove_prefix(letter.size());
    const bool is_letter = size > 1 ? Visible(letter) == letter : absl::ascii_isalnum(letter[0]) || letter == "_";
    if (is_letter) {
      safe.append(letter);
    } else if (!safe.empty() && safe.back() != '-') {
      safe += '-';
    }
  }
  if (!safe.empty() && safe.back() == '-') safe.pop_back();
  return safe.empty() ? "class" : safe;
}

absl::StatusOr<OutputFiles> OutputFiles::Prepare(const std::string& out, const std::string& name, uint32_t count,
                                                 const std::string& previews_dir, bool animations) {
  OutputFiles files;
  files.count_ = count;
  files.to_stdout_ = out == kStdout;
  std::error_code error;
  fs::path path = files.to_stdout_ ? name : out;
  const bool is_folder = path.empty() || !path.has_filename() || fs::is_directory(path, error);
  if (is_folder) path /= absl::StrCat(name, kEnding);
  files.has_given_name_ = !is_folder && !files.to_stdout_;
  files.folder_ = path.parent_path().string();
  files.stem_ = path.stem().string();
  files.extension_ = path.extension().string();
  files.format_ = FormatOf(files.extension_);
  DENOISED_RETURN_IF_ERROR(files.CheckName(path.string(), animations));
  if (!files.to_stdout_) DENOISED_RETURN_IF_ERROR(EnsureWritableFile(path.string()));
  DENOISED_RETURN_IF_ERROR(files.PreparePreviews(previews_dir));
  return files;
}

OutputFiles OutputFiles::None() {
  OutputFiles files;
  files.nowhere_ = true;
  return files;
}

absl::Status OutputFiles::Rename(const std::string& name) {
  if (has_given_name_ || nowhere_) return absl::OkStatus();
  stem_ = name;
  return to_stdout_ ? absl::OkStatus() : EnsureWritableFile(image(0));
}

absl::Status OutputFiles::CheckName(const std::string& out, bool animations) const {
  if (to_stdout_ && isatty(STDOUT_FILENO) == 1) {
    return absl::InvalidArgumentError(
        "--out: standard output is a terminal, which shows no PNG; send it on, as in `denoise 7 --out - >seven.png`");
  }
  const bool animated = animations && format_ != OutputFormat::kPng;
  const bool special = to_stdout_ || IsSpecialFile(out);
  if ((special || animated) && count_ > 1) {
    return absl::InvalidArgumentError(absl::StrCat("--out: ", to_stdout_ ? "standard output" : out,
                                                   " takes one image, not ", count_,
                                                   "; name a folder, as in --out sevens/"));
  }
  if (special || animated || absl::EqualsIgnoreCase(extension_, kEnding)) return absl::OkStatus();
  if (!extension_.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--out: pictures are PNGs", animations ? ", GIFs or APNGs" : "",
                                                   ", and ", out, " promises something else; call it ", stem_,
                                                   kEnding));
  }
  if (count_ == 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--out: ", out, " is one name for ", count_, " images; ", out,
                                                 "/ is a folder for them, ", out, ".png makes ", out,
                                                 "-0.png and so on"));
}

absl::Status OutputFiles::PreparePreviews(const std::string& previews_dir) {
  previews_dir_ = previews_dir;
  return previews_dir.empty() ? absl::OkStatus() : EnsureWritableFolder(previews_dir, "--previews_dir");
}

std::string OutputFiles::image(uint32_t image_index) const {
  if (to_stdout_) return "standard output";
  if (nowhere_) return "not kept (--out keeps it)";
  return (fs::path(folder_) / absl::StrCat(stem_, Number(image_index), extension_)).string();
}

std::string OutputFiles::preview(uint32_t image_index, uint32_t step) const {
  const std::string name = absl::StrFormat("%s%s-step-%04d%s", stem_, Number(image_index), step, kEnding);
  return (fs::path(previews_dir_) / name).string();
}

absl::Status OutputFiles::WriteImage(uint32_t image_index, std::string_view png) const {
  if (nowhere_) return absl::OkStatus();
  return to_stdout_ ? WriteToStdout(png) : WriteFileAtomically(image(image_index), png);
}

absl::Status OutputFiles::WritePreview(uint32_t image_index, uint32_t step, std::string_view png) {
  if (!previewed_) RemoveOldPreviews();
  previewed_ = true;
  return WriteFileAtomically(preview(image_index, step), png);
}

void OutputFiles::RemoveOldPreviews() const {
  std::vector<fs::path> old;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(previews_dir_, error)) {
    const std::string name = entry.path().filename().string();
    absl::string_view rest = name;
    if (!absl::ConsumePrefix(&rest, stem_) || !absl::ConsumeSuffix(&rest, kEnding)) continue;
    const size_t step = rest.find("-step-");
    if (step == absl::string_view::npos || !IsNumber(rest.substr(step + 5))) continue;
    if (count_ == 1 ? step == 0 : IsNumber(rest.substr(0, step))) old.push_back(entry.path());
  }
  for (const fs::path& path : old) fs::remove(path, error);
}

// "-07" for the eighth of a hundred; empty when there is only one.
std::string OutputFiles::Number(uint32_t image_index) const {
  if (count_ == 1) return "";
  const int digits = static_cast<int>(absl::StrCat(count_ - 1).size());
  return absl::StrFormat("-%0*d", digits, image_index);
}

}  // namespace denoised
