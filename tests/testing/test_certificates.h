// File: test_certificates.h
//
// A certificate authority for tests of TLS, with keys of its own, for 127.0.0.1.
//
//   const TestAuthority authority;
//   const TestIdentity server = authority.Issue("server");
//   Write(authority.pem(), server.cert, server.key);
#ifndef DENOISED_TESTS_TESTING_TEST_CERTIFICATES_H_
#define DENOISED_TESTS_TESTING_TEST_CERTIFICATES_H_

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <memory>
#include <stdexcept>
#include <string>

namespace denoised {

// PEM texts.
struct TestIdentity {
  std::string cert;
  std::string key;
};

class TestAuthority {
 public:
  // Two of one name know each other's certificates, and find them wrong; of different names they are strangers.
  explicit TestAuthority(const std::string& name = "test authority")
      : key_(MakeKey()), cert_(MakeCertificate(name, key_.get(), nullptr, key_.get())) {}

  std::string pem() const { return CertificatePem(cert_.get()); }

  // Signed by this authority. With a passphrase the key is encrypted. `names`: further ones, as OpenSSL writes them.
  TestIdentity Issue(const std::string& name, const std::string& passphrase = "",
                     const std::string& names = "IP:127.0.0.1") const {
    const Key key = MakeKey();
    const Certificate cert = MakeCertificate(name, key.get(), cert_.get(), key_.get(), names);
    return {.cert = CertificatePem(cert.get()), .key = KeyPem(key.get(), passphrase)};
  }

  // The same, of which the last hour is over.
  TestIdentity IssueExpired(const std::string& name) const {
    constexpr long kHourSeconds = 60 * 60;
    const Key key = MakeKey();
    const Certificate cert =
        MakeCertificate(name, key.get(), cert_.get(), key_.get(), "IP:127.0.0.1", /*valid_seconds=*/-kHourSeconds);
    return {.cert = CertificatePem(cert.get()), .key = KeyPem(key.get(), "")};
  }

  // Its own authority, of any key, which it takes over.
  static TestIdentity SelfSigned(const std::string& name, EVP_PKEY* any_key) {
    const Key key(any_key, &EVP_PKEY_free);
    return {.cert = CertificatePem(MakeCertificate(name, key.get(), nullptr, key.get()).get()),
            .key = KeyPem(key.get(), "")};
  }

 private:
  using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
  using Memory = std::unique_ptr<BIO, decltype(&BIO_free)>;

  static void Check(bool ok) {
    if (!ok) throw std::runtime_error("OpenSSL cannot make a certificate");
  }

  static Key MakeKey() {
    Key key(EVP_EC_gen("P-256"), &EVP_PKEY_free);
    Check(key != nullptr);
    return key;
  }

  static constexpr long kDaySeconds = 24 * 60 * 60;

  // A certificate of `key`, from a day ago to so many seconds from now, signed by the issuer; without one it is an
  // authority's own.
  static Certificate MakeCertificate(const std::string& name, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key,
                                     const std::string& names = "", long valid_seconds = kDaySeconds) {
    static long serial = 0;
    Certificate cert(X509_new(), &X509_free);
    Check(X509_set_version(cert.get(), 2) == 1);  // X.509v3
    ASN1_INTEGER_set(X509_get_serialNumber(cert.get()), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(cert.get()), -kDaySeconds);
    X509_gmtime_adj(X509_getm_notAfter(cert.get()), valid_seconds);
    Check(X509_set_pubkey(cert.get(), key) == 1);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert.get()), "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509* const signer = issuer == nullptr ? cert.get() : issuer;
    Check(X509_set_issuer_name(cert.get(), X509_get_subject_name(signer)) == 1);
    AddExtension(cert.get(), signer, NID_basic_constraints, issuer == nullptr ? "critical,CA:TRUE" : "CA:FALSE");
    if (issuer != nullptr) AddExtension(cert.get(), signer, NID_subject_alt_name, names.c_str());
    Check(X509_sign(cert.get(), issuer_key, EVP_sha256()) > 0);
    return cert;
  }

  static void AddExtension(X509* cert, X509* issuer, int nid, const char* value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, cert, nullptr, nullptr, 0);
    const std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> extension(
        X509V3_EXT_conf_nid(nullptr, &context, nid, value), &X509_EXTENSION_free);
    Check(extension != nullptr && X509_add_ext(cert, extension.get(), -1) == 1);
  }

  static std::string Contents(BIO* memory) {
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(memory, &bytes);
    return {bytes, static_cast<size_t>(size)};
  }

  static std::string CertificatePem(X509* cert) {
    const Memory memory(BIO_new(BIO_s_mem()), &BIO_free);
    Check(PEM_write_bio_X509(memory.get(), cert) == 1);
    return Contents(memory.get());
  }

  static std::string KeyPem(EVP_PKEY* key, const std::string& passphrase) {
    const Memory memory(BIO_new(BIO_s_mem()), &BIO_free);
    const EVP_CIPHER* cipher = passphrase.empty() ? nullptr : EVP_aes_128_cbc();
    Check(PEM_write_bio_PKCS8PrivateKey(memory.get(), key, cipher, passphrase.data(),
                                        static_cast<int>(passphrase.size()), nullptr, nullptr) == 1);
    return Contents(memory.get());
  }

  const Key key_;
  const Certificate cert_;
};

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_TEST_CERTIFICATES_H_
