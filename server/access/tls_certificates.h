// File: tls_certificates.h
//
// The server's certificate, its key, and the authorities of its clients, from PEM files.
//
//   absl::StatusOr<TlsMaterial> material = LoadTlsMaterial({.cert = "server.pem", .key = "server.key"});
//
// What gRPC would say of unusable files is one line in its log and a port that does not open, so they are checked here.
//
// Pure and thread-safe, but for the reading.
#ifndef DENOISED_SERVER_ACCESS_TLS_CERTIFICATES_H_
#define DENOISED_SERVER_ACCESS_TLS_CERTIFICATES_H_

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/access/refreshed.h"

namespace denoised {

struct TlsOptions {
  std::string cert;  // files, PEM; empty: no TLS
  std::string key;
  std::string client_ca;  // empty: clients need no certificate
};

struct TlsMaterial {
  std::string cert;  // PEM, the server's own certificate first
  std::string key;
  std::string client_ca;
  std::string subject;                               // of the server's own certificate
  std::chrono::system_clock::time_point not_before;  // it is valid from here
  std::chrono::system_clock::time_point not_after;   // to here

  bool operator==(const TlsMaterial& other) const = default;
};

// INVALID_ARGUMENT for files that are incomplete, unreadable as PEM, do not belong together or are refused by OpenSSL;
// NOT_FOUND for missing ones.
absl::StatusOr<TlsMaterial> LoadTlsMaterial(const TlsOptions& tls);

using TlsCertificates = Refreshed<TlsMaterial>;

// Null without a certificate. LoadTlsMaterial's errors; INVALID_ARGUMENT for half of what belongs together.
absl::StatusOr<std::shared_ptr<TlsCertificates>> LoadTlsCertificates(const TlsOptions& tls);

// How near a certificate's end is: soon is less than a fifth of its life, and less than a week.
enum class Expiry { kFar, kSoon, kPassed };
Expiry ExpiryAt(const TlsMaterial& material, std::chrono::system_clock::time_point now);

}  // namespace denoised

#endif  // DENOISED_SERVER_ACCESS_TLS_CERTIFICATES_H_
