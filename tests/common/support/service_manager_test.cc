#include "common/support/service_manager.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <string>

#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

// systemd's end of it: a socket at a path, or at an abstract name that begins with "@".
class Manager {
 public:
  explicit Manager(const std::string& name) : descriptor_(socket(AF_UNIX, SOCK_DGRAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    if (name[0] == '@') address.sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT_EQ(bind(descriptor_, reinterpret_cast<const sockaddr*>(&address), size), 0);
    setenv("NOTIFY_SOCKET", name.c_str(), 1);
  }
  ~Manager() {
    unsetenv("NOTIFY_SOCKET");
    close(descriptor_);
  }
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  std::string Receive() const {
    std::array<char, 100> bytes{};
    const ssize_t size = recv(descriptor_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    return size < 0 ? "nothing" : std::string(bytes.data(), static_cast<size_t>(size));
  }

 private:
  const int descriptor_;
};

TEST(ServiceManagerTest, HearsTheStateAtItsSocket) {
  const TempFolder folder;
  const Manager manager(folder.File("notify"));
  EXPECT_TRUE(NotifyServiceManager("READY=1"));
  EXPECT_EQ(manager.Receive(), "READY=1");
}

TEST(ServiceManagerTest, HearsTheStateAtAnAbstractSocket) {
  const TempFolder folder;
  const Manager manager("@" + folder.path());
  EXPECT_TRUE(NotifyServiceManager("STOPPING=1"));
  EXPECT_EQ(manager.Receive(), "STOPPING=1");
}

TEST(ServiceManagerTest, WithoutOneNothingHappens) {
  unsetenv("NOTIFY_SOCKET");
  EXPECT_FALSE(NotifyServiceManager("READY=1"));
  for (const std::string& name : {std::string("/nowhere/notify"), std::string("notify"), std::string(200, '/')}) {
    setenv("NOTIFY_SOCKET", name.c_str(), 1);
    EXPECT_FALSE(NotifyServiceManager("READY=1")) << name;
  }
  unsetenv("NOTIFY_SOCKET");
}

class WatchdogTimeoutTest : public testing::Test {
 protected:
  ~WatchdogTimeoutTest() override {
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
  }
};

TEST_F(WatchdogTimeoutTest, IsWhatTheManagerSays) {
  EXPECT_EQ(WatchdogTimeout(), std::nullopt);
  setenv("WATCHDOG_USEC", "60000000", 1);
  EXPECT_EQ(WatchdogTimeout(), std::chrono::seconds(60));
  setenv("WATCHDOG_PID", std::to_string(getpid()).c_str(), 1);
  EXPECT_EQ(WatchdogTimeout(), std::chrono::seconds(60));
}

TEST_F(WatchdogTimeoutTest, IsNoneWhereItIsForAnotherProcessOrNoTime) {
  for (const char* text : {"", "0", "-1", "soon"}) {
    setenv("WATCHDOG_USEC", text, 1);
    EXPECT_EQ(WatchdogTimeout(), std::nullopt) << text;
  }
  setenv("WATCHDOG_USEC", "60000000", 1);
  setenv("WATCHDOG_PID", std::to_string(getppid()).c_str(), 1);
  EXPECT_EQ(WatchdogTimeout(), std::nullopt);
}

}  // namespace
}  // namespace denoised
