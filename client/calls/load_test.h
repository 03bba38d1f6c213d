// File: load_test.h
//
// Loads a server and measures it: `denoise bench`.
//
//   absl::StatusOr<LevelResult> result =
//       RunLevel(client, request, {.kind = LoadKind::kOpen, .value = 2.5}, {.seconds = 20});
//   std::fputs((LevelHeader() + FormatLevel(*result)).c_str(), stdout);
//
// A closed loop keeps so many requests in flight: a slow answer delays the next question, as with people who wait. An
// open loop asks at random moments, whatever has been answered (a Poisson process), as many independent callers do; its
// latencies count from the moment a request was due, so that a stalled client hides nothing (coordinated omission).
//
// Thread-safe; two levels at once load the server together.
#ifndef DENOISED_CLIENT_CALLS_LOAD_TEST_H_
#define DENOISED_CLIENT_CALLS_LOAD_TEST_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/calls/digit_client.h"
#include "denoised/v1/digit_service.pb.h"

namespace denoised {

enum class LoadKind {
  kClosed,  // value: requests in flight
  kOpen,    // value: requests a second, on average
};

struct LoadLevel {
  LoadKind kind = LoadKind::kClosed;
  double value = 1;
};

struct LoadTestOptions {
  double seconds = 10;         // of each level that count
  double warmup_seconds = 2;   // before them; requests that begin in these do not count
  double timeout_seconds = 0;  // of one call; 0: none
  uint64_t seed = 1;           // of the moments of arrival, and of the first image's noise
  // Now and then on the caller's thread: a line about how far the level is.
  std::function<void(const std::string&)> on_progress;
};

// What the requests that began in a level's counted time saw.
struct LevelResult {
  LoadLevel level;
  double seconds = 0;             // from the beginning of the counted time to the last answer
  int64_t finished = 0;           // requests with all their images
  int64_t refused = 0;            // RESOURCE_EXHAUSTED: the queue was full, or this client had its share
  std::string first_refusal;      // in the server's words
  int64_t failed = 0;             // any other error
  std::string first_failure;      // in words; or why not one request counts
  double images_per_second = 0;   // that came within the counted time, whichever request they belong to
  std::vector<double> latencies;  // seconds, ascending, of finished requests
  double queue_seconds = 0;       // mean of an image's time in the server's queue, as the server tells it
  double denoise_seconds = 0;     // mean of its time in the batch
  // Images in the batch on average: images a second times seconds in the batch (Little's law).
  double batch_images() const { return images_per_second * denoise_seconds; }
};

// Blocks until the last answer. Every call asks for `request` with a seed of its own. Errors: CANCELLED after
// client.Cancel(), and at once the error of a call that will not get better (INVALID_ARGUMENT, UNIMPLEMENTED,
// UNAVAILABLE and their like). A level in which nothing was finished is a result as any other.
absl::StatusOr<LevelResult> RunLevel(DigitClient& client, const v1::GenerateDigitRequest& request,
                                     const LoadLevel& level, const LoadTestOptions& options);

// "8 in flight" or "2.5 a second".
std::string LoadText(const LoadLevel& level);

// A line of column titles; a line for a level, with others where calls were refused or failed, none above 80 columns; a
// line of JSON; a JSON document; and a PNG of latency against load, which takes the levels of one kind that finished
// something, the open ones where there are any.
std::string LevelHeader();
std::string FormatLevel(const LevelResult& result);
std::string LevelToJsonLine(const LevelResult& result);
std::string ResultsToJson(const std::vector<LevelResult>& results);
absl::StatusOr<std::string> PlotResults(const std::vector<LevelResult>& results);

}  // namespace denoised

#endif  // DENOISED_CLIENT_CALLS_LOAD_TEST_H_
