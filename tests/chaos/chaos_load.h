// File: chaos_load.h
//
// Clients of all kinds on bad connections, and what must be so whatever happens to these:
//
//   ChaosLoad load(server_address);                        // draws each picture once, on a good connection
//   const ChaosReport report = load.Run(proxy_address, {.requests = 10'000, .seed = 7});
//   for (const std::string& fault : report.faults) ...     // there should be none
//   for (const std::string& fault : LeftBehind(metrics)) ...
//
// A request is plain, guided, for several images, or with a preview of each step; its client waits for the end, leaves
// after some events or milliseconds, or has a deadline of milliseconds. Which, is a function of the seed and of the
// request's number.
//
// How calls may end: OK; UNAVAILABLE, which gRPC's client makes of every broken connection, in whatever frame it breaks
// (its endpoint marks all errors of TCP so, that callers may try again); RESOURCE_EXHAUSTED from a full queue;
// CANCELLED for clients that leave, and DEADLINE_EXCEEDED for those with a deadline. Anything else is a fault, INTERNAL
// and UNKNOWN too: neither the server nor the client's library has a reason to say them.
//
// Thread-compatible.
#ifndef DENOISED_TESTS_CHAOS_CHAOS_LOAD_H_
#define DENOISED_TESTS_CHAOS_CHAOS_LOAD_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "denoised/v1/digit_service.pb.h"
#include "tests/testing/server_metrics.h"

namespace denoised {

struct ChaosOptions {
  int64_t requests = 300;
  uint64_t seed = 1;
  int clients = 32;   // each has one call at a time
  int channels = 12;  // connections at a time, which clients share
  // After which a call that has not ended counts as one that never will.
  std::chrono::seconds patience{300};
};

struct ChaosReport {
  std::map<std::string, int64_t> endings;  // calls by status code
  std::map<std::string, int64_t> errors;   // by code and text, with # for numbers
  int64_t images = 0;                      // that came, with the right bytes or not
  int64_t previews = 0;                    // likewise
  std::vector<std::string> faults;         // the first hundred, in words
  std::string ToString() const;
};

class ChaosLoad {
 public:
  // Throws if the server at `address` does not draw.
  explicit ChaosLoad(const std::string& address);

  // Blocks until every call has ended and every connection is closed.
  ChaosReport Run(const std::string& address, const ChaosOptions& options) const;

  // Draws each picture again on a good connection: what differs, in words.
  std::vector<std::string> DrawAgain(const std::string& address) const;

 private:
  struct Drawing {
    v1::GenerateDigitRequest request;
    std::vector<std::string> pngs;  // by image_index
  };
  class Runner;

  std::vector<Drawing> drawings_;
};

// What a server whose clients are gone has kept of their calls, and the codes that it must never have sent. Waits for
// the calls' ends, a minute at most.
std::vector<std::string> LeftBehind(const ServerMetrics& metrics);

}  // namespace denoised

#endif  // DENOISED_TESTS_CHAOS_CHAOS_LOAD_H_
