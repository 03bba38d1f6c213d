// File: channelz_service.h
//
// grpc.channelz.v1.Channelz: gRPC's own servers, channels, connections and their counts, for operators.
//
//   ChannelzService channelz(access);
//   builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 1);
//   builder.RegisterService(&channelz);
//
// It shows every client's address, so each call takes the role admin. Not gRPC's own, which anybody may call.
//
// Thread-safe. Destroy the grpc::Server first.
#ifndef DENOISED_SERVER_SERVICE_CHANNELZ_SERVICE_H_
#define DENOISED_SERVER_SERVICE_CHANNELZ_SERVICE_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "grpc/channelz/v1/channelz.grpc.pb.h"
#include "server/access/access_control.h"

namespace denoised {

// Errors of AccessControl::Admit; INVALID_ARGUMENT for a negative number, NOT_FOUND for one that there is not.
class ChannelzService : public grpc::channelz::v1::Channelz::CallbackService {
 public:
  explicit ChannelzService(const AccessControl& access) : access_(access) {}

  grpc::ServerUnaryReactor* GetTopChannels(grpc::CallbackServerContext* context,
                                           const grpc::channelz::v1::GetTopChannelsRequest* request,
                                           grpc::channelz::v1::GetTopChannelsResponse* response) override;
  grpc::ServerUnaryReactor* GetServers(grpc::CallbackServerContext* context,
                                       const grpc::channelz::v1::GetServersRequest* request,
                                       grpc::channelz::v1::GetServersResponse* response) override;
  grpc::ServerUnaryReactor* GetServer(grpc::CallbackServerContext* context,
                                      const grpc::channelz::v1::GetServerRequest* request,
                                      grpc::channelz::v1::GetServerResponse* response) override;
  grpc::ServerUnaryReactor* GetServerSockets(grpc::CallbackServerContext* context,
                                             const grpc::channelz::v1::GetServerSocketsRequest* request,
                                             grpc::channelz::v1::GetServerSocketsResponse* response) override;
  grpc::ServerUnaryReactor* GetChannel(grpc::CallbackServerContext* context,
                                       const grpc::channelz::v1::GetChannelRequest* request,
                                       grpc::channelz::v1::GetChannelResponse* response) override;
  grpc::ServerUnaryReactor* GetSubchannel(grpc::CallbackServerContext* context,
                                          const grpc::channelz::v1::GetSubchannelRequest* request,
                                          grpc::channelz::v1::GetSubchannelResponse* response) override;
  grpc::ServerUnaryReactor* GetSocket(grpc::CallbackServerContext* context,
                                      const grpc::channelz::v1::GetSocketRequest* request,
                                      grpc::channelz::v1::GetSocketResponse* response) override;

 private:
  // `numbers`: those of the request. `ask`: gRPC's answer as JSON, which is gpr_free's; null if there is none.
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext& context, std::initializer_list<int64_t> numbers,
                                   absl::FunctionRef<char*()> ask, google::protobuf::Message& response) const;
  absl::Status Fill(const grpc::CallbackServerContext& context, std::initializer_list<int64_t> numbers,
                    absl::FunctionRef<char*()> ask, google::protobuf::Message& response) const;

  const AccessControl& access_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVICE_CHANNELZ_SERVICE_H_
