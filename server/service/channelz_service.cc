#include "server/service/channelz_service.h"

#include <google/protobuf/util/json_util.h>
#include <grpc/grpc.h>
#include <grpc/support/alloc.h>

#include <algorithm>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/support/status_macros.h"
#include "server/service/grpc_status.h"

namespace denoised {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using namespace grpc::channelz::v1;  // NOLINT(google-build-using-namespace): fourteen messages

namespace {

absl::Status Parse(const char* json, google::protobuf::Message& message) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;  // of newer libraries
  options.case_insensitive_enum_parsing = true;
  if (google::protobuf::util::JsonStringToMessage(json, &message, options).ok()) return absl::OkStatus();
  return absl::InternalError("gRPC's own description of itself could not be read");
}

}  // namespace

absl::Status ChannelzService::Fill(const CallbackServerContext& context, std::initializer_list<int64_t> numbers,
                                   absl::FunctionRef<char*()> ask, google::protobuf::Message& response) const {
  DENOISED_RETURN_IF_ERROR(access_.Admit(context, Role::kAdmin).status());
  if (std::min(numbers) < 0) return absl::InvalidArgumentError("numbers of channelz begin at 0; got a negative one");
  const std::unique_ptr<char, decltype(&gpr_free)> json(ask(), gpr_free);
  if (json != nullptr) return Parse(json.get(), response);
  return absl::NotFoundError(absl::StrCat("there is no number ", *numbers.begin(),
                                          " of this kind, or no more; connections that have ended have none"));
}

ServerUnaryReactor* ChannelzService::Answer(CallbackServerContext& context, std::initializer_list<int64_t> numbers,
                                            absl::FunctionRef<char*()> ask, google::protobuf::Message& response) const {
  ServerUnaryReactor* reactor = context.DefaultReactor();
  reactor->Finish(ToGrpcStatus(Fill(context, numbers, ask, response)));
  return reactor;
}

ServerUnaryReactor* ChannelzService::GetTopChannels(CallbackServerContext* context,
                                                    const GetTopChannelsRequest* request,
                                                    GetTopChannelsResponse* response) {
  const int64_t start = request->start_channel_id();
  return Answer(
      *context, {start}, [start] { return grpc_channelz_get_top_channels(start); }, *response);
}

ServerUnaryReactor* ChannelzService::GetServers(CallbackServerContext* context, const GetServersRequest* request,
                                                GetServersResponse* response) {
  const int64_t start = request->start_server_id();
  return Answer(
      *context, {start}, [start] { return grpc_channelz_get_servers(start); }, *response);
}

ServerUnaryReactor* ChannelzService::GetServer(CallbackServerContext* context, const GetServerRequest* request,
                                               GetServerResponse* response) {
  const int64_t server = request->server_id();
  return Answer(
      *context, {server}, [server] { return grpc_channelz_get_server(server); }, *response);
}

ServerUnaryReactor* ChannelzService::GetServerSockets(CallbackServerContext* context,
                                                      const GetServerSocketsRequest* request,
                                                      GetServerSocketsResponse* response) {
  const int64_t server = request->server_id(), start = request->start_socket_id(), most = request->max_results();
  return Answer(
      *context, {server, start, most}, [=] { return grpc_channelz_get_server_sockets(server, start, most); },
      *response);
}

ServerUnaryReactor* ChannelzService::GetChannel(CallbackServerContext* context, const GetChannelRequest* request,
                                                GetChannelResponse* response) {
  const int64_t channel = request->channel_id();
  return Answer(
      *context, {channel}, [channel] { return grpc_channelz_get_channel(channel); }, *response);
}

ServerUnaryReactor* ChannelzService::GetSubchannel(CallbackServerContext* context, const GetSubchannelRequest* request,
                                                   GetSubchannelResponse* response) {
  const int64_t subchannel = request->subchannel_id();
  return Answer(
      *context, {subchannel}, [subchannel] { return grpc_channelz_get_subchannel(subchannel); }, *response);
}

ServerUnaryReactor* ChannelzService::GetSocket(CallbackServerContext* context, const GetSocketRequest* request,
                                               GetSocketResponse* response) {
  const int64_t socket = request->socket_id();
  return Answer(
      *context, {socket}, [socket] { return grpc_channelz_get_socket(socket); }, *response);
}

}  // namespace denoised
