// File: inode.h
//
// What a descriptor stands for: another socket of the same number has another inode.
#ifndef DENOISED_SERVER_TRANSPORT_INODE_H_
#define DENOISED_SERVER_TRANSPORT_INODE_H_

#include <sys/stat.h>
#include <sys/types.h>

namespace denoised {

// 0 for one that is closed.
inline ino_t InodeOf(int descriptor) {
  struct stat info {};
  return fstat(descriptor, &info) == 0 ? info.st_ino : 0;
}

}  // namespace denoised

#endif  // DENOISED_SERVER_TRANSPORT_INODE_H_
