#include "common/support/pem_files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "absl/strings/str_cat.h"
#include "common/support/file.h"

namespace denoised {
namespace {

using Memory = std::unique_ptr<BIO, decltype(&BIO_free)>;

constexpr uint64_t kMaxPemBytes = 1 << 20;
constexpr char kKeyMark[] = "PRIVATE KEY-----";

// OpenSSL would ask for it on the terminal, which a server does not have.
int NoPassphrase(char*, int, int, void*) { return -1; }

Memory InMemory(const std::string& pem) {
  return {BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &BIO_free};
}

size_t CountOf(const std::string& part, const std::string& text) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

}  // namespace

absl::StatusOr<std::string> ReadPem(const std::string& flag, const std::string& path) {
  absl::StatusOr<std::string> pem = ReadFile(path, kMaxPemBytes);
  if (!pem.ok()) {
    return absl::Status(pem.status().code(), absl::StrCat(flag, ": ", std::string(pem.status().message())));
  }
  if (pem->find("-----BEGIN ") == std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", path, " is not a PEM file"));
  }
  return pem;
}

absl::StatusOr<std::vector<Certificate>> ReadCertificates(const std::string& flag, const std::string& path,
                                                          const std::string& pem) {
  const Memory memory = InMemory(pem);
  std::vector<Certificate> certificates;
  while (X509* certificate = PEM_read_bio_X509(memory.get(), nullptr, &NoPassphrase, nullptr)) {
    certificates.emplace_back(certificate, &X509_free);
  }
  ERR_clear_error();  // of this thread, which gRPC shares
  if (certificates.empty()) {
    const bool key = pem.find(kKeyMark) != std::string::npos;
    return absl::InvalidArgumentError(
        absl::StrCat(flag, ": ", path, " holds no readable certificate", key ? ", but a private key" : ""));
  }
  if (certificates.size() < CountOf("-----BEGIN CERTIFICATE-----", pem)) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", path, " holds a certificate that cannot be read, its ",
                                                   certificates.size() + 1, ". one; is it complete?"));
  }
  return certificates;
}

PrivateKey ReadPrivateKey(const std::string& pem) {
  PrivateKey key(PEM_read_bio_PrivateKey(InMemory(pem).get(), nullptr, &NoPassphrase, nullptr), &EVP_PKEY_free);
  ERR_clear_error();
  return key;
}

absl::Status CheckKeyPair(X509* certificate, const std::string& key_pem, const std::string& cert,
                          const std::string& key) {
  const PrivateKey private_key = ReadPrivateKey(key_pem);
  const bool pair = private_key != nullptr && X509_check_private_key(certificate, private_key.get()) == 1;
  ERR_clear_error();
  if (private_key == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("--tls_key: ", key, " holds no private key that can be read without a passphrase"));
  }
  if (pair) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--tls_key: ", key, " is not the key of the certificate in ", cert,
                   "; give the two that were made together, and that certificate first where the file holds a chain"));
}

}  // namespace denoised
