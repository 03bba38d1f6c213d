// File: client_identity.h
//
// Who a call comes from, in one text: what fair shares and limits for each client are counted by.
//
//   ClientIdentity(*context, {.token_name = "lab"})                   "token:lab"
//   ClientIdentity(*context, {})                                      "certificate:spiffe://example.org/lab", or else
//                                                                     "address:192.0.2.7"
//   ClientIdentity(*context, {.trusted_header = "x-client"})          "header:alice", in front of the address
//
// The word before the colon says how it is known, so that nobody becomes another one's token by a header of that name.
// An IPv6 address counts by its first 64 bits, which is the least that a customer gets: addresses within them are free.
//
// Pure and thread-safe.
#ifndef DENOISED_SERVER_ACCESS_CLIENT_IDENTITY_H_
#define DENOISED_SERVER_ACCESS_CLIENT_IDENTITY_H_

#include <grpcpp/server_context.h>
#include <openssl/x509.h>

#include <string>
#include <utility>
#include <vector>

namespace denoised {

struct IdentitySources {
  std::string token_name;      // of the token that the call has shown; empty: none
  std::string trusted_header;  // metadata that a proxy in front sets; empty: none is believed
};

// The first of: the token's name; the SPIFFE ID, URI, common name or other name in a client certificate that has been
// verified, by gRPC or a gateway in this process; the trusted header's last value, if it is printable and at most 256
// bytes; the peer's address.
std::string ClientIdentity(const grpc::ServerContextBase& context, const IdentitySources& sources);

// The name in a client certificate that has been verified elsewhere than by gRPC: the same as ClientIdentity finds in a
// connection of gRPC's. Empty if there is none in it.
std::string NameInCertificate(const X509* certificate);

// Metadata, keys and values, by which a gateway in this process names its own client: the address, as gRPC writes
// those, and the name in its certificate, empty without one. They are believed because they hold a secret of the
// process.
std::vector<std::pair<std::string, std::string>> CallerMetadata(const std::string& peer,
                                                                const std::string& certificate_name);

// Where the call comes from, in gRPC's words, through a gateway too: "ipv4:192.0.2.7:40000".
std::string CallerOf(const grpc::ServerContextBase& context);

// "192.0.2.7" for the peer "ipv4:192.0.2.7:40000", "2001:db8::/64" for one of IPv6, "unix" for a Unix socket's; what
// gRPC says for any other.
std::string PeerAddress(const std::string& peer);

// Whether a peer, in gRPC's words, is on this machine: a Unix socket's, or one that came from a loopback address.
bool IsLocalPeer(const std::string& peer);

}  // namespace denoised

#endif  // DENOISED_SERVER_ACCESS_CLIENT_IDENTITY_H_
