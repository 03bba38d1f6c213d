// File: free_port.h
//
// A TCP port of this machine's own address that was free a moment ago, for programs that must be told one.
//
//   const std::string port = std::to_string(FreePort());
#ifndef DENOISED_TESTS_TESTING_FREE_PORT_H_
#define DENOISED_TESTS_TESTING_FREE_PORT_H_

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace denoised {

inline int FreePort() {
  const int descriptor = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const bool bound = bind(descriptor, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  close(descriptor);
  return bound ? ntohs(address.sin_port) : 0;
}

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_FREE_PORT_H_
