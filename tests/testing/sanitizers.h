// File: sanitizers.h
//
// What a test cannot ask of a sanitized build.
#ifndef DENOISED_TESTS_TESTING_SANITIZERS_H_
#define DENOISED_TESTS_TESTING_SANITIZERS_H_

#include <gtest/gtest.h>

// Skips a test that takes its own process's last descriptor: UndefinedBehaviorSanitizer looks at memory through a pipe,
// and takes an object that it cannot look at for one of another type.
#ifdef __SANITIZE_ADDRESS__
#define DENOISED_SKIP_WITHOUT_SPARE_DESCRIPTORS() \
  GTEST_SKIP() << "UndefinedBehaviorSanitizer looks at memory through a pipe of its own"
#else
#define DENOISED_SKIP_WITHOUT_SPARE_DESCRIPTORS() static_cast<void>(0)
#endif

// Skips a test that limits its own process's memory, of which sanitizers take terabytes of addresses.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DENOISED_SKIP_WITHOUT_SPARE_MEMORY() GTEST_SKIP() << "sanitizers take more addresses than any limit"
#else
#define DENOISED_SKIP_WITHOUT_SPARE_MEMORY() static_cast<void>(0)
#endif

#endif  // DENOISED_TESTS_TESTING_SANITIZERS_H_
