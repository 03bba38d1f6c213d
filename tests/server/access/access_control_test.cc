#include "server/access/access_control.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "common/support/digest.h"
#include "tests/testing/generic_call.h"
#include "tests/testing/status_matchers.h"

namespace denoised {
namespace {

using testing::HasSubstr;

// A server where calls to be admitted need a role, answered by ABORTED and the client's identity.
class AccessControlTest : public testing::Test {
 protected:
  void Serve(Role role, const std::string& client_header = "") {
    access_.emplace(tokens_, client_header);
    server_.emplace(grpc::InsecureServerCredentials(), [this, role](const grpc::CallbackServerContext& context) {
      const absl::StatusOr<std::string> client = access_->Admit(context, role);
      if (client.ok()) return grpc::Status(grpc::StatusCode::ABORTED, *client);
      return grpc::Status(static_cast<grpc::StatusCode>(client.status().code()),
                          std::string(client.status().message()));
    });
  }

  grpc::Status Call(const CallMetadata& metadata) {
    return server_->Call(grpc::InsecureChannelCredentials(), metadata);
  }

  void ExpectRefusal(const CallMetadata& metadata, grpc::StatusCode code, const std::string& message) {
    const grpc::Status status = Call(metadata);
    EXPECT_EQ(status.error_code(), code);
    EXPECT_THAT(status.error_message(), HasSubstr(message));
  }

  absl::StatusOr<AccessTokens> file_ =
      AccessTokens::Parse("lab " + Sha256Hex("secret") + "\nops " + Sha256Hex("ops secret") + " admin");
  std::shared_ptr<TokenFile> tokens_ = *TokenFile::Load([this] { return file_; });
  std::optional<AccessControl> access_;
  std::optional<GenericServer> server_;
};

TEST_F(AccessControlTest, WithoutATokenFileThisMachineMayDoEverything) {
  tokens_ = nullptr;
  Serve(Role::kAdmin);
  EXPECT_EQ(Call({}).error_message(), "address:127.0.0.1");
}

TEST_F(AccessControlTest, TokenAdmitsAndNamesTheClient) {
  Serve(Role::kDraw, "x-client");
  EXPECT_EQ(Call({{"authorization", "Bearer secret"}, {"x-client", "ops"}}).error_message(), "token:lab");
  EXPECT_EQ(Call({{"authorization", "bearer  secret"}}).error_message(), "token:lab");
}

TEST_F(AccessControlTest, WithoutAKnownTokenACallIsUnauthenticated) {
  Serve(Role::kDraw);
  const grpc::StatusCode code = grpc::StatusCode::UNAUTHENTICATED;
  ExpectRefusal({}, code, "this server asks for a token: send the metadata \"authorization: Bearer TOKEN\"");
  ExpectRefusal({{"authorization", "Bearer wrong"}}, code, "the token is not one that this server knows");
  ExpectRefusal({{"authorization", "Bearer "}}, code, "the token is not one that this server knows");
  ExpectRefusal({{"authorization", "Basic bGFiOnNlY3JldA=="}}, code, "must be \"Bearer TOKEN\"");
  ExpectRefusal({{"authorization", "secret"}}, code, "must be \"Bearer TOKEN\"");
}

// Something in front could have judged by one of them and this server by the other.
TEST_F(AccessControlTest, TwoTokensAreNone) {
  Serve(Role::kDraw);
  ExpectRefusal({{"authorization", "Bearer wrong"}, {"authorization", "Bearer secret"}},
                grpc::StatusCode::UNAUTHENTICATED, "this server asks for a token");
}

TEST_F(AccessControlTest, RoleThatDoesNotReachIsPermissionDenied) {
  Serve(Role::kAdmin);
  ExpectRefusal({{"authorization", "Bearer secret"}}, grpc::StatusCode::PERMISSION_DENIED,
                "the token of \"lab\" has the role draw; this takes the role admin");
  EXPECT_EQ(Call({{"authorization", "Bearer ops secret"}}).error_message(), "token:ops");
}

TEST_F(AccessControlTest, TokenThatIsTakenOutOfTheFileEndsWithTheNextCall) {
  Serve(Role::kDraw);
  EXPECT_EQ(Call({{"authorization", "Bearer secret"}}).error_message(), "token:lab");
  file_ = AccessTokens::Parse("lab " + Sha256Hex("newer"));
  EXPECT_EQ(*tokens_->Refresh(), true);
  ExpectRefusal({{"authorization", "Bearer secret"}}, grpc::StatusCode::UNAUTHENTICATED, "is not one that this server");
  EXPECT_EQ(Call({{"authorization", "Bearer newer"}}).error_message(), "token:lab");
}

TEST(CheckTokensAreSafe, RefusesToTakeTokensInPlainTextFromTheNetwork) {
  const auto check = [](const AccessOptions& access, const std::string& listen, bool tls) {
    return CheckTokensAreSafe(access, "--http_listen", listen, "127.0.0.1:8080", tls);
  };
  AccessOptions access;
  access.tokens = "tokens";
  EXPECT_THAT(check(access, "0.0.0.0:80", /*tls=*/false),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--tokens: without TLS, tokens would reach 0.0.0.0:80 readable for everybody on the way; give "
                       "--tls_cert and --tls_key, or --http_listen=127.0.0.1:8080, or --allow_plain_tokens where "
                       "something in front speaks TLS"));
  EXPECT_THAT(check(access, "0.0.0.0:80", /*tls=*/true), IsOk());
  EXPECT_THAT(check(access, "127.0.0.1:80", /*tls=*/false), IsOk());
  EXPECT_THAT(check({}, "0.0.0.0:80", /*tls=*/false), IsOk());
  access.allow_plain_tokens = true;
  EXPECT_THAT(check(access, "0.0.0.0:80", /*tls=*/false), IsOk());
}

}  // namespace
}  // namespace denoised
