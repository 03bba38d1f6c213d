// File: program.h
//
// Runs this project's programs as a user does.
//
//   const ProgramResult result = RunProgram({"denoise", "10"});
//   EXPECT_EQ(result.exit_code, 1);
//
//   BackgroundProgram server({"denoised", "--listen", "127.0.0.1:0"});
//   const std::string line = server.AwaitLine("listening on ");
//   server.Signal(SIGTERM);
//   EXPECT_EQ(server.Wait(), 0);
#ifndef DENOISED_TESTS_TESTING_PROGRAM_H_
#define DENOISED_TESTS_TESTING_PROGRAM_H_

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/testing/temp_folder.h"

namespace denoised {

// A program of the build tree, or any other by its path, started at once. What it prints goes to files. It is killed if
// it still runs when this object ends.
class BackgroundProgram {
 public:
  // `command`: name and arguments; `environment`: "NAME=value" added to this process's own. `folder`: its working
  // folder.
  explicit BackgroundProgram(std::vector<std::string> command, std::vector<std::string> environment = {},
                             const std::string& folder = "") {
    if (command[0].find('/') == std::string::npos) command[0] = std::string(DENOISED_BIN_DIR "/") + command[0];
    pid_ = fork();
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ > 0) return;
    const auto redirect = [](const std::string& path, int descriptor) {
      dup2(open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600), descriptor);
    };
    redirect(output_.File("out"), STDOUT_FILENO);
    redirect(output_.File("err"), STDERR_FILENO);
    if (!folder.empty() && chdir(folder.c_str()) != 0) _exit(126);
    for (std::string& variable : environment) putenv(variable.data());
    std::vector<char*> arguments;
    for (std::string& argument : command) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  ~BackgroundProgram() {
    if (pid_ == 0) return;
    kill(pid_, SIGKILL);
    Wait();
  }
  BackgroundProgram(const BackgroundProgram&) = delete;
  BackgroundProgram& operator=(const BackgroundProgram&) = delete;

  std::string out() const { return Slurp(output_.File("out")); }
  std::string err() const { return Slurp(output_.File("err")); }

  // What follows `text` on the first line of stderr that has it, as soon as there is one. Throws if the program ends
  // without it; a test's own timeout is the limit.
  std::string AwaitLine(const std::string& text) {
    for (;;) {
      const bool ended = Ended();
      const std::string printed = err();
      const size_t at = printed.find(text);
      const size_t end = at == std::string::npos ? at : printed.find('\n', at);
      if (end != std::string::npos) return printed.substr(at + text.size(), end - at - text.size());
      if (ended) throw std::runtime_error("the program ended without \"" + text + "\"; it said:\n" + printed);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  void Signal(int signal) const { kill(pid_, signal); }
  pid_t pid() const { return pid_; }
  bool Ended() {
    if (pid_ != 0 && waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = 0;
    return pid_ == 0;
  }

  // Its exit status, or 128 and the signal that ended it, as shells have it.
  int Wait() {
    if (pid_ != 0) {
      waitpid(pid_, &status_, 0);
      pid_ = 0;
    }
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
  }

 private:
  TempFolder output_;
  pid_t pid_ = 0;
  int status_ = 0;
};

struct ProgramResult {
  int exit_code = 0;
  std::string out;
  std::string err;
};

inline ProgramResult RunProgram(std::vector<std::string> command, std::vector<std::string> environment = {},
                                const std::string& folder = "") {
  BackgroundProgram program(std::move(command), std::move(environment), folder);
  const int exit_code = program.Wait();
  return {exit_code, program.out(), program.err()};
}

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_PROGRAM_H_
