// File: served.h
//
// The server as a program of its own, with the shipped checkpoint.
//
//   Served served({"--max_queued_images=23"});
//   RunProgram({"denoise", "7", "--server", served.address()});
//   served.server().Signal(SIGTERM);
#ifndef DENOISED_TESTS_END_TO_END_SERVED_H_
#define DENOISED_TESTS_END_TO_END_SERVED_H_

#include <string>
#include <vector>

#include "tests/testing/program.h"
#include "tests/testing/temp_folder.h"

namespace denoised {

// Started away from the source tree, with no flag but free ports: it finds its checkpoint itself.
class Served {
 public:
  explicit Served(const std::vector<std::string>& flags = {}) : server_(Command(flags), {}, folder_.path()) {
    address_ = server_.AwaitLine("listening on ");
    server_.AwaitLine("model ");  // loaded
  }

  const std::string& address() const { return address_; }
  BackgroundProgram& server() { return server_; }

 private:
  static std::vector<std::string> Command(const std::vector<std::string>& flags) {
    std::vector<std::string> command = {"denoised", "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0",
                                        "--lame_duck=0"};
    command.insert(command.end(), flags.begin(), flags.end());
    return command;
  }

  TempFolder folder_;
  BackgroundProgram server_;
  std::string address_;
};

// A client's command line: a 7 of 32 pixels, from this server.
inline std::vector<std::string> Draw(const Served& served, const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {"denoise", "7", "--server", served.address(), "--size=32", "--picture=never"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

}  // namespace denoised

#endif  // DENOISED_TESTS_END_TO_END_SERVED_H_
