#include "server/access/client_identity.h"

#include <arpa/inet.h>
#include <grpc/grpc_security_constants.h>
#include <netinet/in.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/support/loopback.h"

namespace denoised {
namespace {

constexpr size_t kMaxHeaderBytes = 256;
constexpr char kForwardedFor[] = "x-forwarded-for";  // a list, to whose end each proxy adds

constexpr char kCallerKey[] = "denoised-caller";
constexpr char kCertificateKey[] = "denoised-certificate-bin";  // any bytes

// 128 bits, new for each process.
const std::string& Secret() {
  static const std::string& secret = *new std::string([] {
    std::random_device device;
    std::string words;
    for (int i = 0; i < 4; ++i) absl::StrAppend(&words, absl::Hex(device(), absl::kZeroPad8));
    return words;
  }());
  return secret;
}

// What a gateway of this process has said by a key; nothing if another one has.
std::optional<std::string> SaidByGateway(const grpc::ServerContextBase& context, const char* key) {
  const auto said = context.client_metadata().find(key);
  if (said == context.client_metadata().end()) return std::nullopt;
  absl::string_view value(said->second.data(), said->second.size());
  if (!absl::ConsumePrefix(&value, Secret())) return std::nullopt;
  return std::string(value);
}

std::string Text(const ASN1_STRING* text) {
  unsigned char* utf8 = nullptr;
  const int size = ASN1_STRING_to_UTF8(&utf8, text);
  if (size < 0) return "";
  std::string copy(reinterpret_cast<const char*>(utf8), static_cast<size_t>(size));
  OPENSSL_free(utf8);
  return copy;
}

std::string CommonName(const X509* certificate) {
  const X509_NAME* subject = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  return at < 0 ? "" : Text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

std::string AddressText(const ASN1_OCTET_STRING* bytes) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const int size = ASN1_STRING_length(bytes);
  if (size != sizeof(in_addr) && size != sizeof(in6_addr)) return "";
  return inet_ntop(size == sizeof(in_addr) ? AF_INET : AF_INET6, ASN1_STRING_get0_data(bytes), text.data(),
                   text.size());
}

// One of the subject's alternative names; empty for kinds that gRPC has no text for.
std::string AlternativeName(const GENERAL_NAME* name) {
  switch (name->type) {
    case GEN_URI:
      return Text(name->d.uniformResourceIdentifier);
    case GEN_DNS:
      return Text(name->d.dNSName);
    case GEN_EMAIL:
      return Text(name->d.rfc822Name);
    case GEN_IPADD:
      return AddressText(name->d.iPAddress);
    default:
      return "";
  }
}

// gRPC and gateways have these only for connections whose certificate has been verified.
std::optional<std::string> CertificateName(const grpc::ServerContextBase& context) {
  if (std::optional<std::string> name = SaidByGateway(context, kCertificateKey)) return name;
  const std::shared_ptr<const grpc::AuthContext> auth = context.auth_context();
  if (auth == nullptr || !auth->IsPeerAuthenticated()) return std::nullopt;
  for (const char* property : {GRPC_PEER_SPIFFE_ID_PROPERTY_NAME, GRPC_PEER_URI_PROPERTY_NAME,
                               GRPC_X509_CN_PROPERTY_NAME, GRPC_X509_SAN_PROPERTY_NAME}) {
    for (const grpc::string_ref& value : auth->FindPropertyValues(property)) {
      if (!value.empty()) return std::string(value.data(), value.size());
    }
  }
  return std::nullopt;
}

bool IsPrintable(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isprint(static_cast<uint8_t>(c)); });
}

// NOTE: the last one: those before it may be the client's own, to which its proxy has added.
std::optional<std::string> HeaderValue(const grpc::ServerContextBase& context, const std::string& header) {
  const auto [begin, end] = context.client_metadata().equal_range(header);
  if (header.empty() || begin == end) return std::nullopt;
  const grpc::string_ref raw = std::prev(end)->second;
  absl::string_view value(raw.data(), raw.size());
  if (header == kForwardedFor) value = value.substr(value.rfind(',') + 1);
  value = absl::StripAsciiWhitespace(value);
  if (value.empty() || value.size() > kMaxHeaderBytes || !IsPrintable(value)) return std::nullopt;
  return std::string(value);
}

std::string Ipv6Network(in6_addr address) {
  if (IN6_IS_ADDR_V4MAPPED(&address)) {
    std::array<char, INET_ADDRSTRLEN> text{};
    return inet_ntop(AF_INET, &address.s6_addr[12], text.data(), text.size());
  }
  std::fill(std::begin(address.s6_addr) + 8, std::end(address.s6_addr), 0);
  std::array<char, INET6_ADDRSTRLEN> text{};
  return absl::StrCat(inet_ntop(AF_INET6, &address, text.data(), text.size()), "/64");
}

}  // namespace

// NOTE: in the order of CertificateName; a SPIFFE ID is a URI that stands alone.
std::string NameInCertificate(const X509* certificate) {
  const std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)),
      &GENERAL_NAMES_free);
  std::string uri, other;
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    std::string& first = name->type == GEN_URI ? uri : other;
    if (first.empty()) first = AlternativeName(name);
  }
  if (!uri.empty()) return uri;
  const std::string common_name = CommonName(certificate);
  return common_name.empty() ? other : common_name;
}

std::vector<std::pair<std::string, std::string>> CallerMetadata(const std::string& peer,
                                                                const std::string& certificate_name) {
  std::vector<std::pair<std::string, std::string>> metadata = {{kCallerKey, absl::StrCat(Secret(), peer)}};
  if (!certificate_name.empty()) metadata.emplace_back(kCertificateKey, absl::StrCat(Secret(), certificate_name));
  return metadata;
}

std::string CallerOf(const grpc::ServerContextBase& context) {
  return SaidByGateway(context, kCallerKey).value_or(context.peer());
}

std::string PeerAddress(const std::string& peer) {
  if (absl::StartsWith(peer, "unix")) return "unix";
  const std::string plain = absl::StrReplaceAll(peer, {{"%5B", "["}, {"%5D", "]"}, {"%25", "%"}});
  absl::string_view rest = plain;
  if (absl::ConsumePrefix(&rest, "ipv4:")) return std::string(rest.substr(0, rest.rfind(':')));
  if (!absl::ConsumePrefix(&rest, "ipv6:[")) return peer;
  const std::string host(rest.substr(0, rest.find_first_of("%]")));  // %: the interface of a link-local address
  in6_addr address{};
  return inet_pton(AF_INET6, host.c_str(), &address) == 1 ? Ipv6Network(address) : host;
}

bool IsLocalPeer(const std::string& peer) {
  const std::string address = PeerAddress(peer);
  return address == "unix" || IsLoopback(absl::StrCat(address, ":0")) || absl::StartsWith(peer, "ipv6:%5B::1%5D:") ||
         absl::StartsWith(peer, "ipv6:[::1]:");
}

std::string ClientIdentity(const grpc::ServerContextBase& context, const IdentitySources& sources) {
  if (!sources.token_name.empty()) return absl::StrCat("token:", sources.token_name);
  if (const auto name = CertificateName(context)) return absl::StrCat("certificate:", *name);
  if (const auto value = HeaderValue(context, sources.trusted_header)) return absl::StrCat("header:", *value);
  return absl::StrCat("address:", PeerAddress(CallerOf(context)));
}

}  // namespace denoised
