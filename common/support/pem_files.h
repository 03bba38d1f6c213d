// File: pem_files.h
//
// Certificates and keys from PEM files, with errors in words: what TLS libraries say of unusable ones is little.
//
//   DENOISED_ASSIGN_OR_RETURN(const std::string pem, ReadPem("--tls_cert", "server.pem"));
//   DENOISED_ASSIGN_OR_RETURN(const std::vector<Certificate> chain, ReadCertificates("--tls_cert", "server.pem", pem));
//
// Every error begins with `flag`, the command line's name for the file. Thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_PEM_FILES_H_
#define DENOISED_COMMON_SUPPORT_PEM_FILES_H_

#include <openssl/x509.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace denoised {

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using PrivateKey = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

// The file's text. NOT_FOUND and so on as ReadFile has them; INVALID_ARGUMENT if it is no PEM.
absl::StatusOr<std::string> ReadPem(const std::string& flag, const std::string& path);

// All certificates in the text of a file, at least one. INVALID_ARGUMENT for one that cannot be read even behind others
// that can: the file may be half written.
absl::StatusOr<std::vector<Certificate>> ReadCertificates(const std::string& flag, const std::string& path,
                                                          const std::string& pem);

// Null if there is none that can be read without a passphrase.
PrivateKey ReadPrivateKey(const std::string& pem);

// INVALID_ARGUMENT, of --tls_key, if the key cannot be read or is not the certificate's. `cert` and `key`: the files.
absl::Status CheckKeyPair(X509* certificate, const std::string& key_pem, const std::string& cert,
                          const std::string& key);

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_PEM_FILES_H_
