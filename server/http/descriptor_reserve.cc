#include "server/http/descriptor_reserve.h"

#include <fcntl.h>
#include <unistd.h>

namespace denoised {

DescriptorReserve::DescriptorReserve(size_t size) : size_(size) { Refill(); }

DescriptorReserve::~DescriptorReserve() {
  while (Release()) {
  }
}

bool DescriptorReserve::Release() {
  if (held_.empty()) return false;
  close(held_.back());
  held_.pop_back();
  return true;
}

void DescriptorReserve::Refill() {
  while (held_.size() < size_) {
    const int descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    held_.push_back(descriptor);
  }
}

}  // namespace denoised
