// Tells ThreadSanitizer what absl::Mutex orders. Distributions build Abseil without it, so it would see a data race in
// every use of a mutex. Linked into the tests of the tsan preset alone, by the linker's --wrap; TsanAbslMutex.cmake
// finds the names of what is wrapped: MUTEX_LOCK, MUTEX_UNLOCK, MUTEX_AWAIT and MUTEX_AWAIT_WITH_TIMEOUT.
//
// Conditions are evaluated inside the library, by whichever thread unlocks, under the lock that ThreadSanitizer does
// not see: reads in there are not checked.
#include <cstdint>

#define JOIN_INNER(a, b) a##b
#define JOIN(a, b) JOIN_INNER(a, b)
#define REAL(symbol) JOIN(__real_, symbol)
#define WRAP(symbol) JOIN(__wrap_, symbol)

extern "C" {

void __tsan_acquire(void* address);
void __tsan_release(void* address);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);

void REAL(MUTEX_LOCK)(void* mutex);
void REAL(MUTEX_UNLOCK)(void* mutex);
uint64_t REAL(MUTEX_AWAIT)(void* mutex, const void* condition, uint64_t timeout);

void WRAP(MUTEX_LOCK)(void* mutex) {
  REAL(MUTEX_LOCK)(mutex);
  __tsan_acquire(mutex);
}

void WRAP(MUTEX_UNLOCK)(void* mutex) {
  __tsan_release(mutex);
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  REAL(MUTEX_UNLOCK)(mutex);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}

// Await, or AwaitCommon: that one takes a timeout and returns a bool, in registers, which the other leaves alone.
uint64_t WRAP(MUTEX_AWAIT)(void* mutex, const void* condition, uint64_t timeout) {
  __tsan_release(mutex);
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  const uint64_t result = REAL(MUTEX_AWAIT)(mutex, condition, timeout);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  __tsan_acquire(mutex);
  return result;
}

#ifdef MUTEX_AWAIT_WITH_TIMEOUT
// AwaitWithTimeout; its duration comes in two registers.
uint64_t REAL(MUTEX_AWAIT_WITH_TIMEOUT)(void* mutex, const void* condition, uint64_t seconds, uint64_t ticks);
uint64_t WRAP(MUTEX_AWAIT_WITH_TIMEOUT)(void* mutex, const void* condition, uint64_t seconds, uint64_t ticks) {
  __tsan_release(mutex);
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  const uint64_t result = REAL(MUTEX_AWAIT_WITH_TIMEOUT)(mutex, condition, seconds, ticks);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  __tsan_acquire(mutex);
  return result;
}
#endif

}  // extern "C"
