// What an orchestrator's probe sees of a process that has stopped.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <string>
#include <thread>

#include "tests/end_to_end/served.h"
#include "tests/testing/http_client.h"
#include "tests/testing/program.h"
#include "tests/testing/raw_connection.h"

namespace denoised {
namespace {

// As /proc has it: 'T' for a process that is stopped.
char StateOf(pid_t pid) {
  const std::string stat = Slurp("/proc/" + std::to_string(pid) + "/stat");
  return stat.at(stat.rfind(')') + 2);
}

// Field report "stopped dead, and alive by its probe": the system takes its connections, so that a probe which only
// connects finds it well.
TEST(LivenessTest, StoppedProcessAnswersNoProbeUntilItGoesOn) {
  Served served;
  BackgroundProgram& server = served.server();
  server.AwaitLine("listening on ");
  const std::string address = server.AwaitLine("metrics on http://127.0.0.1:");
  const int port = std::stoi(address);
  EXPECT_EQ(HttpGet(port, "/livez").status, 200);
  server.Signal(SIGSTOP);
  while (StateOf(server.pid()) != 'T') std::this_thread::yield();
  const RawConnection probe(port);
  ASSERT_TRUE(probe.Send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  constexpr std::chrono::seconds kProbesTimeout(1);  // the manifests' probes wait longer
  EXPECT_FALSE(probe.Readable(kProbesTimeout));
  server.Signal(SIGCONT);
  EXPECT_TRUE(probe.ReceiveAll().starts_with("HTTP/1.1 200 "));
  EXPECT_EQ(HttpGet(port, "/livez").status, 200);
}

}  // namespace
}  // namespace denoised
