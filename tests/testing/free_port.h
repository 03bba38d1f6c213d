// File: free_port.h
//
// A TCP port of this machine's own address that was free a moment ago, for programs that must be told one. It is none
// of those that Linux hands out by itself (from 32768 on), so whoever is told it also gets it back after a restart,
// whatever connects meanwhile.
//
//   const std::string port = std::to_string(FreePort());
#ifndef DENOISED_TESTS_TESTING_FREE_PORT_H_
#define DENOISED_TESTS_TESTING_FREE_PORT_H_

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <random>

namespace denoised {

inline int FreePort() {
  std::random_device random;
  std::uniform_int_distribution<int> ports(10000, 32767);
  for (;;) {
    const int port = ports(random);
    const int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    const bool bound = bind(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    close(descriptor);
    if (bound) return port;
  }
}

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_FREE_PORT_H_
