// The rooms of this tree, and that their arrows point one way: ARCHITECTURE.md's code map names every room from high to
// low, CMakeLists.txt builds them in the same order, no #include runs upward, and each library is linked with the rooms
// that it includes and no more.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

using Rooms = std::vector<std::string>;  // from high to low

constexpr const char* kSourceFolders[] = {"client", "trainer", "server", "common"};

// The first columns of the code map: "| `common/image/` | ...".
Rooms RoomsOfMap(const std::string& architecture) {
  Rooms rooms;
  std::istringstream lines(architecture);
  for (std::string line; std::getline(lines, line);) {
    std::smatch row;
    if (std::regex_match(line, row, std::regex("\\| `([a-z_/]+)/` \\|.*"))) rooms.push_back(row[1]);
  }
  return rooms;
}

// The list DENOISED_ROOMS.
Rooms RoomsOfCMake(const std::string& lists) {
  std::smatch list;
  Rooms rooms;
  if (!std::regex_search(lists, list, std::regex("set\\(DENOISED_ROOMS([^)]*)\\)"))) return rooms;
  std::istringstream words(list[1].str());
  for (std::string room; words >> room;) rooms.push_back(room);
  return rooms;
}

struct Include {
  std::string place;   // file:line
  std::string header;  // as written
  std::string room;    // that it is in
};

// A source file and what it includes of this project.
struct SourceFile {
  std::string path;  // from the root
  std::string room;
  std::vector<Include> includes;

  bool is_header() const { return absl::EndsWith(path, ".h"); }
  std::string name() const { return std::filesystem::path(path).filename().string(); }
  std::string stem() const { return std::filesystem::path(path).stem().string(); }
};

std::string FolderOf(const std::string& path) { return std::filesystem::path(path).parent_path().string(); }

// The room of a header; empty for those of the system and of libraries.
std::string RoomOf(const std::string& header) {
  for (const char* folder : kSourceFolders) {
    if (absl::StartsWith(header, absl::StrCat(folder, "/"))) return FolderOf(header);
  }
  for (const char* generated :
       {"denoised/v1/", "google/rpc/", "grpc/channelz/", "grpc/health/", "grpc/reflection/", "opentelemetry/proto/"}) {
    if (absl::StartsWith(header, generated)) return "proto";
  }
  return "";
}

SourceFile ReadSource(const std::string& root, const std::string& path) {
  SourceFile source = {.path = path, .room = FolderOf(path), .includes = {}};
  std::ifstream file(root + "/" + path);
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    std::smatch match;
    if (!std::regex_match(line, match, std::regex("#include \"([^\"]+)\".*"))) continue;
    const std::string room = RoomOf(match[1]);
    if (!room.empty()) {
      source.includes.push_back({.place = absl::StrCat(path, ":", number), .header = match[1], .room = room});
    }
  }
  return source;
}

std::vector<SourceFile> ReadTree(const std::string& root) {
  std::vector<SourceFile> sources;
  for (const char* folder : kSourceFolders) {
    if (!std::filesystem::exists(root + "/" + folder)) continue;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root + "/" + folder)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cc" && extension != ".cu") continue;
      sources.push_back(ReadSource(root, std::filesystem::relative(entry.path(), root).string()));
    }
  }
  std::sort(sources.begin(), sources.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return sources;
}

// Files in rooms that the map does not name, and includes that run upward.
std::vector<std::string> LayerFaults(const std::vector<SourceFile>& sources, const Rooms& rooms) {
  std::vector<std::string> faults;
  const auto height = [&](const std::string& room) { return std::find(rooms.begin(), rooms.end(), room); };
  for (const SourceFile& source : sources) {
    if (height(source.room) == rooms.end()) {
      faults.push_back(absl::StrCat(source.path, ": ARCHITECTURE.md's code map has no room ", source.room, "/"));
      continue;
    }
    for (const Include& include : source.includes) {
      if (height(include.room) == rooms.end()) {
        faults.push_back(absl::StrCat(include.place, ": ARCHITECTURE.md's code map has no room ", include.room, "/"));
      } else if (height(include.room) < height(source.room)) {
        faults.push_back(absl::StrCat(include.place, ": ", include.header, " is in ", include.room, "/, above ",
                                      source.room, "/: move what both need down, or this file up"));
      }
    }
  }
  return faults;
}

// One call of denoised_add_room or denoised_add_program.
struct Target {
  std::string name;
  bool program = false;
  std::string room;
  std::set<std::string> sources;
  std::set<std::string> links;         // the names behind denoised::
  std::set<std::string> public_links;  // those of them that are PUBLIC
};

std::vector<Target> ReadTargets(const std::string& root, const Rooms& rooms) {
  std::vector<Target> targets;
  for (const std::string& room : rooms) {
    const std::string lists = Slurp(absl::StrCat(root, "/", room, "/CMakeLists.txt"));
    const std::regex call("denoised_add_(room|program)\\(([^)]*)\\)");
    for (std::sregex_iterator match(lists.begin(), lists.end(), call), end; match != end; ++match) {
      std::istringstream words((*match)[2].str());
      Target target;
      target.program = (*match)[1] == "program";
      target.room = room;
      words >> target.name;
      bool is_public = false;
      for (std::string word; words >> word;) {
        if (word == "PUBLIC" || word == "PRIVATE") is_public = word == "PUBLIC";
        std::smatch part;
        if (std::regex_search(word, part, std::regex("([a-z0-9_]+\\.(cc|cu))"))) target.sources.insert(part[1]);
        if (!absl::StartsWith(word, "denoised::")) continue;
        target.links.insert(word.substr(sizeof "denoised::" - 1));
        if (is_public) target.public_links.insert(word.substr(sizeof "denoised::" - 1));
      }
      targets.push_back(std::move(target));
    }
  }
  return targets;
}

std::string Names(const std::set<std::string>& names) { return absl::StrCat("{", absl::StrJoin(names, " "), "}"); }

// The headers that belong to a program and not to its room's library: those of its sources.
bool BelongsToProgram(const SourceFile& source, const std::vector<Target>& targets) {
  return std::any_of(targets.begin(), targets.end(), [&](const Target& target) {
    return target.program && target.room == source.room && target.sources.contains(source.stem() + ".cc");
  });
}

// Libraries that are linked with other rooms than they include.
std::vector<std::string> LinkFaults(const std::vector<SourceFile>& sources, const std::vector<Target>& targets) {
  std::map<std::string, std::string> library_of = {{"proto", "proto"}};
  for (const Target& target : targets) {
    if (!target.program) library_of[target.room] = target.name;
  }
  std::vector<std::string> faults;
  for (const Target& target : targets) {
    std::set<std::string> included, of_headers;
    for (const SourceFile& source : sources) {
      if (source.room != target.room) continue;
      const bool of_program = BelongsToProgram(source, targets);
      if (target.program ? !target.sources.contains(source.stem() + ".cc") : of_program) continue;
      for (const Include& include : source.includes) {
        if (!target.program && include.room == target.room) continue;
        // A program's own headers are no library.
        const SourceFile header = {.path = include.header, .room = include.room, .includes = {}};
        if (BelongsToProgram(header, targets)) continue;
        included.insert(library_of[include.room]);
        if (source.is_header()) of_headers.insert(library_of[include.room]);
      }
    }
    if (included != target.links) {
      faults.push_back(absl::StrCat(target.room, "/CMakeLists.txt: ", target.name, " includes ", Names(included),
                                    " and links ", Names(target.links)));
    } else if (!target.program && of_headers != target.public_links) {
      faults.push_back(absl::StrCat(target.room, "/CMakeLists.txt: the headers of ", target.name, " include ",
                                    Names(of_headers), " and PUBLIC are ", Names(target.public_links)));
    }
  }
  return faults;
}

// ---- This tree ----

const Rooms& ThisMap() {
  static const Rooms rooms = RoomsOfMap(Slurp(DENOISED_SOURCE_DIR "/ARCHITECTURE.md"));
  return rooms;
}

TEST(LayersTest, TheMapAndCMakeNameTheSameRoomsInTheSameOrder) {
  EXPECT_EQ(ThisMap(), RoomsOfCMake(Slurp(DENOISED_SOURCE_DIR "/CMakeLists.txt")));
}

TEST(LayersTest, EveryRoomIsThere) {
  for (const std::string& room : ThisMap()) {
    EXPECT_TRUE(std::filesystem::exists(absl::StrCat(DENOISED_SOURCE_DIR "/", room, "/CMakeLists.txt"))) << room;
  }
}

TEST(LayersTest, NoIncludeRunsUpward) {
  const std::vector<SourceFile> sources = ReadTree(DENOISED_SOURCE_DIR);
  EXPECT_GT(sources.size(), 100u);
  EXPECT_THAT(LayerFaults(sources, ThisMap()), IsEmpty());
}

TEST(LayersTest, RoomsAreLinkedWithWhatTheyInclude) {
  EXPECT_THAT(LinkFaults(ReadTree(DENOISED_SOURCE_DIR), ReadTargets(DENOISED_SOURCE_DIR, ThisMap())), IsEmpty());
}

// ---- A tree with faults ----

class FaultyTreeTest : public testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(tree_.File(FolderOf(path)));
    tree_.Write(path, text);
  }

  TempFolder tree_;
  const Rooms rooms_ = {"server", "common/image"};
};

TEST_F(FaultyTreeTest, AnIncludeThatRunsUpwardIsNamedWithItsLine) {
  Write("server/server.h", "#include \"common/image/image.h\"\n");
  Write("common/image/image.cc", "#include <string>\n\n#include \"server/server.h\"\n");
  EXPECT_THAT(LayerFaults(ReadTree(tree_.path()), rooms_),
              ElementsAre("common/image/image.cc:3: server/server.h is in server/, above common/image/: move what both "
                          "need down, or this file up"));
}

TEST_F(FaultyTreeTest, ARoomThatTheMapDoesNotNameIsNamed) {
  Write("common/odds/ends.h", "");
  Write("server/server.h", "#include \"common/odds/ends.h\"\n");
  EXPECT_THAT(LayerFaults(ReadTree(tree_.path()), rooms_),
              ElementsAre("common/odds/ends.h: ARCHITECTURE.md's code map has no room common/odds/",
                          "server/server.h:1: ARCHITECTURE.md's code map has no room common/odds/"));
}

TEST_F(FaultyTreeTest, ALibraryThatIsLinkedWithMoreThanItIncludesIsNamed) {
  Write("common/image/CMakeLists.txt", "denoised_add_room(image\n  SOURCES image.cc)\n");
  Write("common/image/image.cc", "");
  Write("server/CMakeLists.txt", "denoised_add_room(server SOURCES server.cc PRIVATE denoised::image)\n");
  Write("server/server.cc", "");
  EXPECT_THAT(LinkFaults(ReadTree(tree_.path()), ReadTargets(tree_.path(), rooms_)),
              ElementsAre("server/CMakeLists.txt: server includes {} and links {image}"));
}

TEST_F(FaultyTreeTest, ALibraryThatIsHiddenFromWhoeverIncludesItsHeadersIsNamed) {
  Write("common/image/CMakeLists.txt", "denoised_add_room(image\n  SOURCES image.cc)\n");
  Write("server/CMakeLists.txt", "denoised_add_room(server SOURCES server.cc PRIVATE denoised::image)\n");
  Write("server/server.h", "#include \"common/image/image.h\"\n");
  EXPECT_THAT(LinkFaults(ReadTree(tree_.path()), ReadTargets(tree_.path(), rooms_)),
              ElementsAre("server/CMakeLists.txt: the headers of server include {image} and PUBLIC are {}"));
}

TEST(LayersTest, TheListsAreReadAsTheyAreWritten) {
  EXPECT_THAT(RoomsOfMap("# Map\n| Room | Holds |\n| --- | --- |\n| `server/` | x |\n| `common/image/` | y |\n"),
              ElementsAre("server", "common/image"));
  EXPECT_THAT(RoomsOfCMake("set(DENOISED_ROOMS\n  server\n  common/image)\n"), ElementsAre("server", "common/image"));
}

}  // namespace
}  // namespace denoised
