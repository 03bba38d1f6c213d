// The description for programs says what the contract says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "denoised/v1/digit_service.pb.h"
#include "server/gateway/page.h"

namespace denoised {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using nlohmann::json;

json Description() {
  for (const PageFile& file : PageFiles()) {
    if (file.name == "openapi.json") return json::parse(file.content);
  }
  return {};
}

std::set<std::string> Keys(const json& object) {
  std::set<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.insert(key);
  return keys;
}

// "GenerateDigitResponseAccepted" for the message in the message.
std::string SchemaName(const Descriptor& message) {
  return message.containing_type() == nullptr ? message.name()
                                              : SchemaName(*message.containing_type()) + message.name();
}

void ExpectSame(const Descriptor& message, const json& schemas) {
  std::set<std::string> fields;
  for (int i = 0; i < message.field_count(); ++i) fields.insert(message.field(i)->json_name());
  if (message.name() == "GenerateDigitResponse") fields.insert("error");  // which gRPC has in its status
  ASSERT_TRUE(schemas.contains(SchemaName(message))) << SchemaName(message);
  EXPECT_EQ(Keys(schemas[SchemaName(message)]["properties"]), fields) << SchemaName(message);
  for (int i = 0; i < message.nested_type_count(); ++i) ExpectSame(*message.nested_type(i), schemas);
}

TEST(OpenApiTest, SchemasHaveTheFieldsOfTheContract) {
  const json schemas = Description()["components"]["schemas"];
  const auto* file = v1::GenerateDigitRequest::descriptor()->file();
  for (int i = 0; i < file->message_type_count(); ++i) {
    if (file->message_type(i)->field_count() > 0) ExpectSame(*file->message_type(i), schemas);
  }
  for (int i = 0; i < file->enum_type_count(); ++i) {
    const EnumDescriptor& names = *file->enum_type(i);
    json values = json::array();
    for (int k = 0; k < names.value_count(); ++k) values.push_back(names.value(k)->name());
    EXPECT_EQ(schemas[names.name()]["enum"], values) << names.name();
  }
}

// What a request hears that never became a call is no JSON, which a generated client must know.
TEST(OpenApiTest, EveryOperationHasAnAnswerForWhatIsNoCall) {
  const json description = Description();
  for (const auto& [path, operations] : description["paths"].items()) {
    for (const auto& [method, operation] : operations.items()) {
      EXPECT_EQ(operation["responses"]["default"]["$ref"], "#/components/responses/Refused") << method << " " << path;
    }
  }
  EXPECT_EQ(Keys(description["components"]["responses"]["Refused"]["content"]),
            (std::set<std::string>{"application/json", "text/plain"}));
}

TEST(OpenApiTest, ReferencesLeadSomewhere) {
  const json description = Description();
  const json flat = description.flatten();
  int references = 0;
  for (const auto& [path, value] : flat.items()) {
    if (!absl::EndsWith(path, "/$ref")) continue;
    ++references;
    EXPECT_TRUE(description.contains(json::json_pointer(value.get<std::string>().substr(1)))) << path << " " << value;
  }
  EXPECT_GT(references, 20);
}

}  // namespace
}  // namespace denoised
