// File: descriptor_reserve.h
//
// File descriptors that are held open for nothing, to be given up when the process has run out of them: then a probe or
// a scrape can still be accepted, whoever holds all the others.
//
//   DescriptorReserve reserve(4);
//   if (errno == EMFILE && reserve.Release()) ... accept again ...
//   reserve.Refill();  // after a connection has been closed
//
// Not thread-safe.
#ifndef DENOISED_SERVER_HTTP_DESCRIPTOR_RESERVE_H_
#define DENOISED_SERVER_HTTP_DESCRIPTOR_RESERVE_H_

#include <cstddef>
#include <vector>

namespace denoised {

class DescriptorReserve {
 public:
  explicit DescriptorReserve(size_t size);
  ~DescriptorReserve();
  DescriptorReserve(const DescriptorReserve&) = delete;
  DescriptorReserve& operator=(const DescriptorReserve&) = delete;

  // Closes one, so that the next call which needs a descriptor gets it; false when none is left.
  bool Release();

  // Takes back what was released, as far as there are descriptors.
  void Refill();

 private:
  const size_t size_;
  std::vector<int> held_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_HTTP_DESCRIPTOR_RESERVE_H_
