// File: connection_diagnosis.h
//
// Why a server cannot be reached, found by trying once more without gRPC, which says little more than "unavailable".
//
//   const Diagnosis diagnosis = Diagnose(*ServerAddress::Parse("localhost"), tls);
//   if (diagnosis.obstacle == Obstacle::kNobodyListens) ...   // wait, or start a server
//   std::cerr << diagnosis.text;
//
// Blocks for a few seconds at most. Thread-safe.
#ifndef DENOISED_CLIENT_CALLS_CONNECTION_DIAGNOSIS_H_
#define DENOISED_CLIENT_CALLS_CONNECTION_DIAGNOSIS_H_

#include <string>

#include "client/calls/server_address.h"

namespace denoised {

// What a client speaks TLS with; PEM texts.
struct TlsFiles {
  bool enabled = false;
  std::string ca;    // empty: the system's certificates
  std::string cert;  // empty: none
  std::string key;
};

enum class Obstacle {
  kNone,           // none was found: the connection was made, as far as this can tell
  kNobodyListens,  // nobody takes connections there, yet
  kNoSuchHost,
  kNoAnswer,  // no route, or silence
  kTls,       // one side speaks TLS and the other does not, or a certificate is not accepted
};

struct Diagnosis {
  Obstacle obstacle = Obstacle::kNone;
  std::string text;  // what is wrong and what to do, empty with kNone
};

Diagnosis Diagnose(const ServerAddress& server, const TlsFiles& tls);

}  // namespace denoised

#endif  // DENOISED_CLIENT_CALLS_CONNECTION_DIAGNOSIS_H_
