// File: transport_options.h
//
// What gRPC is told about connections: how old they may grow, how often they may be pinged, how much they may carry.
//
//   grpc::ServerBuilder builder;
//   SetTransportOptions({.max_connection_age_seconds = 300}, builder);
#ifndef DENOISED_SERVER_TRANSPORT_TRANSPORT_OPTIONS_H_
#define DENOISED_SERVER_TRANSPORT_TRANSPORT_OPTIONS_H_

#include <grpcpp/server_builder.h>

#include <cstddef>
#include <cstdint>

namespace denoised {

struct TransportOptions {
  int max_connections = 1000;

  // A client that keeps its connection sees a new replica only when the connection ends: after so long it is told to
  // make its next calls on another, while those that run go on for as long as the grace. 0: never.
  double max_connection_age_seconds = 300;
  double max_connection_age_grace_seconds = 600;

  // Clients may ping so often, in silence too, as while they wait in the queue; it is 10 s that they are usually set
  // to.
  double min_ping_interval_seconds = 1;
  // After so much silence the server asks whether the client still lives, and waits so long for an answer.
  double keepalive_seconds = 60;
  double keepalive_timeout_seconds = 20;

  // Calls of one connection at a time. Beyond it a client's library lets calls wait without a word: to be more than are
  // ever admitted, so that the queue's own answer comes first.
  int max_streams = 1000;
  // Over all connections, see call_limit.h. Never less than max_streams, so that no lone connection is cut.
  int64_t max_calls = 10'000;
  // That a connection, and all together, may bring besides their calls, see flood_limit.h.
  int64_t max_flood_bytes = 1 << 20;
  int64_t max_flood_bytes_of_all = 64 << 20;
  // That a connection, and all together, may bring while calls are open of which no service has heard, see there.
  // More than a message may have that gRPC takes, so that it is refused in words.
  int64_t max_unheard_bytes = (1 << 20) + (128 << 10);
  int64_t max_unheard_bytes_of_all = 2 << 20;
  // What gRPC may hold of requests that are under way, over all connections: it keeps a message of any length until it
  // is whole, and only then refuses it. Beyond this it ends calls, and turns new connections away.
  size_t memory_bytes = 256 << 20;
  // Whether gRPC's count of connections and calls is shown by its service Channelz.
  bool channelz = false;
  // For a new connection to say its first words, TLS included.
  double handshake_seconds = 20;
};

void SetTransportOptions(const TransportOptions& options, grpc::ServerBuilder& builder);

}  // namespace denoised

#endif  // DENOISED_SERVER_TRANSPORT_TRANSPORT_OPTIONS_H_
