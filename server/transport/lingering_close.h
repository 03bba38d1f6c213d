// File: lingering_close.h
//
// Connections that end so that their peers get all that was sent to them.
//
//   LingerOnClose(socket);   // before it is gRPC's
//   ...
//   AwaitLingering(std::chrono::seconds(4));   // before the process ends
//
// Once a connection has had its GOAWAY and its last call is over, gRPC shuts it down both ways and closes it. What its
// client sends then, be it the update of a window, is answered by a reset, and who is reset loses what it has not read
// yet: images that were drawn. So of these connections only the server's own way is shut, and what still comes is read
// and thrown away until the client has closed the other one (RFC 9112, 9.6, has the same for HTTP/1.1). That is soon:
// who reads a GOAWAY without a call left closes. The wait ends kSilence after a client's last sign of life, as idle
// ones may read nothing, and after kLongest in any case.
//
// gRPC has no place for that. Therefore this file defines `shutdown`, which comes before the system's in the whole
// program. Of sockets that were not named to LingerOnClose it does what the system's does.
//
// Thread-safe.
#ifndef DENOISED_SERVER_TRANSPORT_LINGERING_CLOSE_H_
#define DENOISED_SERVER_TRANSPORT_LINGERING_CLOSE_H_

#include <chrono>
#include <limits>

namespace denoised {

// From its shutdown on, a descriptor of this process's own stands for it until the peer has closed. Its number is below
// `descriptors`, so that those from there on stay for others; where none is free below, the connection is cut.
void LingerOnClose(int socket, int descriptors = std::numeric_limits<int>::max());

// Its shutdown is the system's again.
void CloseAtOnce(int socket);

// Connections whose peers have not closed yet.
int LingeringConnections();

// True if there are none by then.
bool AwaitLingering(std::chrono::nanoseconds timeout);

}  // namespace denoised

#endif  // DENOISED_SERVER_TRANSPORT_LINGERING_CLOSE_H_
