// --channelz: what an operator sees of gRPC itself, and who is one.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/support/digest.h"
#include "grpc/channelz/v1/channelz.grpc.pb.h"
#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "tests/server/puppet_server.h"
#include "tests/testing/temp_folder.h"

namespace denoised {
namespace {

using grpc::StatusCode;
using grpc::channelz::v1::Channelz;
using testing::HasSubstr;

class ChannelzTest : public PuppetServer {
 protected:
  ChannelzTest() : PuppetServer(/*slots=*/4, /*max_queued_images=*/10) { options_.transport.channelz = true; }

  void Start() {
    PuppetServer::Start();
    channelz_ = Channelz::NewStub(channel_);
  }

  // A call of channelz, with this token or none.
  template <typename Request, typename Response>
  grpc::Status Ask(grpc::Status (Channelz::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                   const Request& request, Response* response, const std::string& token = "") {
    grpc::ClientContext context;
    if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
    return (channelz_.get()->*method)(&context, request, response);
  }

  grpc::channelz::v1::GetServersResponse Servers() {
    grpc::channelz::v1::GetServersResponse servers;
    EXPECT_TRUE(Ask(&Channelz::Stub::GetServers, {}, &servers).ok());
    return servers;
  }

  grpc::Status SocketsOf(int64_t server, int64_t start, int64_t most,
                         grpc::channelz::v1::GetServerSocketsResponse* sockets) {
    grpc::channelz::v1::GetServerSocketsRequest request;
    request.set_server_id(server);
    request.set_start_socket_id(start);
    request.set_max_results(most);
    return Ask(&Channelz::Stub::GetServerSockets, request, sockets);
  }

  std::vector<std::string> ReflectedServices() {
    grpc::ClientContext context;
    const auto stream = grpc::reflection::v1::ServerReflection::NewStub(channel_)->ServerReflectionInfo(&context);
    grpc::reflection::v1::ServerReflectionRequest request;
    request.set_list_services("");
    grpc::reflection::v1::ServerReflectionResponse response;
    EXPECT_TRUE(stream->Write(request) && stream->Read(&response));
    context.TryCancel();
    std::vector<std::string> names;
    for (const auto& service : response.list_services_response().service()) names.push_back(service.name());
    return names;
  }

  std::unique_ptr<Channelz::Stub> channelz_;
};

TEST_F(ChannelzTest, ShowsTheServerItsConnectionsAndTheirCalls) {
  Start();
  ASSERT_TRUE(Generate(Request(7)).status.ok());
  const auto servers = Servers();
  ASSERT_EQ(servers.server_size(), 1);
  EXPECT_GE(servers.server(0).data().calls_succeeded(), 1);
  const int64_t server = servers.server(0).ref().server_id();

  grpc::channelz::v1::GetServerRequest server_request;
  server_request.set_server_id(server);
  grpc::channelz::v1::GetServerResponse same;
  ASSERT_TRUE(Ask(&Channelz::Stub::GetServer, server_request, &same).ok());
  EXPECT_EQ(same.server().ref().server_id(), server);

  grpc::channelz::v1::GetServerSocketsResponse sockets;
  ASSERT_TRUE(SocketsOf(server, 0, 0, &sockets).ok());
  ASSERT_EQ(sockets.socket_ref_size(), 1);
  grpc::channelz::v1::GetSocketRequest socket_request;
  socket_request.set_socket_id(sockets.socket_ref(0).socket_id());
  grpc::channelz::v1::GetSocketResponse socket;
  ASSERT_TRUE(Ask(&Channelz::Stub::GetSocket, socket_request, &socket).ok());
  EXPECT_GE(socket.socket().data().streams_started(), 2);
  EXPECT_EQ(socket.socket().remote().tcpip_address().ip_address(), std::string("\x7f\0\0\x01", 4));
}

TEST_F(ChannelzTest, NumbersThatThereAreNotAreRefused) {
  Start();
  grpc::channelz::v1::GetSocketRequest request;
  request.set_socket_id(123'456'789);
  grpc::channelz::v1::GetSocketResponse socket;
  const grpc::Status status = Ask(&Channelz::Stub::GetSocket, request, &socket);
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("there is no number 123456789 of this kind"));
}

TEST_F(ChannelzTest, NegativeNumbersAreRefused) {
  Start();
  const int64_t server = Servers().server(0).ref().server_id();
  grpc::channelz::v1::GetServerSocketsResponse sockets;
  EXPECT_EQ(SocketsOf(server, -1, 0, &sockets).error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(SocketsOf(server, 0, -1, &sockets).error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(SocketsOf(-1, 0, 0, &sockets).error_code(), StatusCode::INVALID_ARGUMENT);
  grpc::channelz::v1::GetServersRequest request;
  request.set_start_server_id(-1);
  grpc::channelz::v1::GetServersResponse servers;
  const grpc::Status status = Ask(&Channelz::Stub::GetServers, request, &servers);
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "numbers of channelz begin at 0; got a negative one");
}

TEST_F(ChannelzTest, TakesATokenWithTheRoleAdmin) {
  const TempFolder folder;
  options_.access.tokens =
      folder.Write("tokens", absl::StrCat("lab ", Sha256Hex("secret"), "\nops ", Sha256Hex("ops secret"), " admin\n"));
  Start();
  grpc::channelz::v1::GetServersResponse servers;
  EXPECT_EQ(Ask(&Channelz::Stub::GetServers, {}, &servers).error_code(), StatusCode::UNAUTHENTICATED);
  const grpc::Status refused = Ask(&Channelz::Stub::GetServers, {}, &servers, "secret");
  EXPECT_EQ(refused.error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(refused.error_message(), "the token of \"lab\" has the role draw; this takes the role admin");
  EXPECT_EQ(servers.server_size(), 0);
  EXPECT_TRUE(Ask(&Channelz::Stub::GetServers, {}, &servers, "ops secret").ok());
  EXPECT_EQ(servers.server_size(), 1);
}

TEST_F(ChannelzTest, IsReflectedOnlyWhenItIsOn) {
  Start();
  EXPECT_THAT(ReflectedServices(), testing::Contains("grpc.channelz.v1.Channelz"));
}

TEST_F(ChannelzTest, IsNotThereUnlessItIsAskedFor) {
  options_.transport.channelz = ServerOptions().transport.channelz;
  Start();
  grpc::channelz::v1::GetServersResponse servers;
  EXPECT_EQ(Ask(&Channelz::Stub::GetServers, {}, &servers).error_code(), StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(ReflectedServices(), testing::Not(testing::Contains("grpc.channelz.v1.Channelz")));
}

}  // namespace
}  // namespace denoised
