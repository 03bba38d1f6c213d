// File: descriptor_limit.h
//
// How many files and sockets this process may have open.
//
//   const int limit = RaiseDescriptorLimit();
//
// Thread-safe, but for other threads that change the limit.
#ifndef DENOISED_SERVER_TRANSPORT_DESCRIPTOR_LIMIT_H_
#define DENOISED_SERVER_TRANSPORT_DESCRIPTOR_LIMIT_H_

namespace denoised {

// Raises the soft limit to the hard one, which needs no rights, and returns what holds from now on.
int RaiseDescriptorLimit();

// As it is.
int DescriptorLimit();

}  // namespace denoised

#endif  // DENOISED_SERVER_TRANSPORT_DESCRIPTOR_LIMIT_H_
