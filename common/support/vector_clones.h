// File: vector_clones.h
//
// DENOISED_VECTOR_CLONES before a function compiles it for several instruction sets and takes the best at start, so
// that one binary is fast on every machine. Where the compiler or a sanitizer does not support that, once for the
// baseline.
#ifndef DENOISED_COMMON_SUPPORT_VECTOR_CLONES_H_
#define DENOISED_COMMON_SUPPORT_VECTOR_CLONES_H_

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__SANITIZE_ADDRESS__)
#define DENOISED_VECTOR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define DENOISED_VECTOR_CLONES
#endif

#endif  // DENOISED_COMMON_SUPPORT_VECTOR_CLONES_H_
