#include "common/support/cgroup_limits.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace denoised {
namespace {

// Version 1 writes "no limit" as the greatest number of pages there can be.
constexpr double kNoMemoryLimit = 1e18;

// This process's place in one hierarchy: a line of /proc/self/cgroup.
struct Membership {
  std::vector<std::string> controllers;  // of version 1; version 2's one hierarchy names none
  std::string group;
};

// A hierarchy, or a part of it, that is to be seen in the file system: a line of /proc/self/mountinfo.
struct Mount {
  bool version2 = false;
  std::vector<std::string> options;  // version 1's controllers are among them
  std::string group;                 // that lies at the folder
  std::string folder;
};

std::vector<std::string> Lines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// "4:cpu,cpuacct:/docker/1f", "0::/user.slice"
std::vector<Membership> ReadMemberships(const std::string& root) {
  std::vector<Membership> memberships;
  for (const std::string& line : Lines(root + "/proc/self/cgroup")) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() == 3) memberships.push_back({absl::StrSplit(parts[1], ',', absl::SkipEmpty()), parts[2]});
  }
  return memberships;
}

// The kernel writes what would end a field as octal numbers.
std::string Unescaped(const std::string& field) {
  return absl::StrReplaceAll(field, {{"\\040", " "}, {"\\011", "\t"}, {"\\012", "\n"}, {"\\134", "\\"}});
}

// "33 31 0:30 /docker/1f /sys/fs/cgroup/cpu ro,nosuid master:9 - cgroup cgroup rw,cpu": proc(5).
std::vector<Mount> ReadMounts(const std::string& root) {
  std::vector<Mount> mounts;
  for (const std::string& line : Lines(root + "/proc/self/mountinfo")) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 6 || std::distance(dash, fields.end()) < 4) continue;
    const std::string& type = dash[1];
    if (type != "cgroup" && type != "cgroup2") continue;
    mounts.push_back({.version2 = type == "cgroup2",
                      .options = absl::StrSplit(dash[3], ','),
                      .group = Unescaped(fields[3]),
                      .folder = Unescaped(fields[4])});
  }
  return mounts;
}

bool Contains(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// The groups from this one up to the mount's, as folders. A group that the mount does not show leaves the mount's own:
// that is how a container sees itself when it has no cgroup namespace of its own.
std::vector<std::string> FoldersUpwards(const Mount& mount, const std::string& group) {
  const std::string base = mount.group == "/" ? "" : mount.group;
  std::string below;
  if (group == base || absl::StartsWith(group, base + "/")) below = group.substr(base.size());
  if (absl::StartsWith(below, "/..")) below.clear();  // outside of this process's cgroup namespace
  std::vector<std::string> folders;
  for (; below.size() > 1; below.resize(below.rfind('/'))) folders.push_back(mount.folder + below);
  folders.push_back(mount.folder);
  return folders;
}

std::vector<std::string> WordsOf(const std::string& path) {
  std::ifstream file(path);
  return {std::istream_iterator<std::string>(file), {}};
}

std::optional<double> NumberIn(const std::string& path) {
  const std::vector<std::string> words = WordsOf(path);
  double value = 0;
  if (words.size() != 1 || !absl::SimpleAtod(words[0], &value)) return std::nullopt;
  return value;
}

void Lower(std::optional<CgroupLimit>& limit, double value, const std::string& file) {
  if (value > 0 && (!limit.has_value() || value < limit->value)) limit = CgroupLimit{value, file};
}

// "150000 100000": so many microseconds in each period of so many; "max 100000": no limit.
void LowerByCpuMax(std::optional<CgroupLimit>& cpus, const std::string& root, const std::string& file) {
  const std::vector<std::string> words = WordsOf(root + file);
  double quota = 0, period = 0;
  if (words.size() != 2 || !absl::SimpleAtod(words[0], &quota) || !absl::SimpleAtod(words[1], &period)) return;
  if (period > 0) Lower(cpus, quota / period, file);
}

// A quota of -1 is none.
void LowerByCfsQuota(std::optional<CgroupLimit>& cpus, const std::string& root, const std::string& folder) {
  const std::string file = folder + "/cpu.cfs_quota_us";
  const std::optional<double> quota = NumberIn(root + file);
  const std::optional<double> period = NumberIn(root + folder + "/cpu.cfs_period_us");
  if (quota.has_value() && period.has_value() && *period > 0) Lower(cpus, *quota / *period, file);
}

void LowerByMemory(std::optional<CgroupLimit>& memory, const std::string& root, const std::string& file) {
  const std::optional<double> bytes = NumberIn(root + file);
  if (bytes.has_value() && *bytes < kNoMemoryLimit) Lower(memory, *bytes, file);
}

}  // namespace

CgroupLimits ReadCgroupLimits(const std::string& root) {
  CgroupLimits limits;
  const std::vector<Membership> memberships = ReadMemberships(root);
  for (const Mount& mount : ReadMounts(root)) {
    for (const Membership& membership : memberships) {
      const auto both_have = [&](const char* controller) {
        return Contains(membership.controllers, controller) && Contains(mount.options, controller);
      };
      const bool version2 = mount.version2 && membership.controllers.empty();
      for (const std::string& folder : FoldersUpwards(mount, membership.group)) {
        if (version2) LowerByCpuMax(limits.cpus, root, folder + "/cpu.max");
        if (version2) LowerByMemory(limits.memory_bytes, root, folder + "/memory.max");
        if (both_have("cpu")) LowerByCfsQuota(limits.cpus, root, folder);
        if (both_have("memory")) LowerByMemory(limits.memory_bytes, root, folder + "/memory.limit_in_bytes");
      }
    }
  }
  return limits;
}

}  // namespace denoised
