#include "server/rpc/wire.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "olmoe/v1/inference.pb.h"
#include "server/api/conversions.h"
#include "tests/rpc/status_details.h"

namespace olmoe::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

grpc::ByteBuffer Buffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

// A length-delimited field.
std::string Field(int number, const std::string& value) {
  EXPECT_LT(value.size(), 128u);
  return std::string(1, static_cast<char>(number << 3 | 2)) +
         std::string(1, static_cast<char>(value.size())) + value;
}

TEST(WireTest, MessagesComeBack) {
  v1::GenerateRequest sent, received;
  sent.set_text("caf\xC3\xA9");
  sent.set_max_new_tokens(7);
  ASSERT_TRUE(ParseMessage(SerializeMessage(sent), &received).ok());
  EXPECT_EQ(received.SerializeAsString(), sent.SerializeAsString());
}

TEST(WireTest, EveryIllFormedTextFieldIsNamed) {
  // text = 2, stop = 6, unit_id = 11 of GenerateRequest.
  const std::string bytes =
      Field(2, "ok\xFF") + Field(6, "fine") + Field(6, "\xC3") + Field(11, "\xED\xA0\x80");
  v1::GenerateRequest request;
  const absl::Status status = ParseMessage(Buffer(bytes), &request);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(ViolatedFields(api::ToRpcStatus(status)), ElementsAre("text", "stop[1]", "unit_id"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("text: is not well-formed UTF-8 (byte 2)"));
}

TEST(WireTest, IllFormedTextInsideNestedMessagesIsNamed) {
  // items = 2 of ScoreRequest; context_text = 1, continuation_text = 3 of ScoreItem.
  const std::string bytes = Field(2, Field(1, "a")) + Field(2, Field(1, "a") + Field(3, "\x80"));
  v1::ScoreRequest request;
  const absl::Status status = ParseMessage(Buffer(bytes), &request);
  EXPECT_THAT(ViolatedFields(api::ToRpcStatus(status)), ElementsAre("items[1].continuation_text"));
}

std::string Times(const std::string& bytes, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += bytes;
  return all;
}

// Each of the parts is two bytes on the wire and an object in memory.
TEST(WireTest, MessageOfTooManyPartsIsRefusedBeforeAnythingIsMadeOfIt) {
  constexpr int kTooMany = 70'000;
  v1::ScoreRequest score;
  v1::GenerateRequest generate;
  const std::string unknown_number = "\xF8\x01\x01";  // field 31
  const std::string group = std::string("\xFB\x01") + Times("\x08\x01", kTooMany) + "\xFC\x01";
  EXPECT_THAT(std::string(ParseMessage(Buffer(Times(Field(2, ""), kTooMany)), &score).message()),
              HasSubstr("more than 65536 parts"));
  EXPECT_EQ(score.items_size(), 0);
  for (const std::string& bytes :
       {Times(Field(6, ""), kTooMany), Times(unknown_number, kTooMany), group}) {
    EXPECT_THAT(std::string(ParseMessage(Buffer(bytes), &generate).message()),
                HasSubstr("more than 65536 parts"));
  }
  v1::ScoreStreamRequest stream;
  score.Clear();
  for (int i = 0; i < kTooMany; ++i) score.add_items();
  *stream.mutable_request() = score;
  v1::ScoreStreamRequest received;
  EXPECT_TRUE(absl::IsInvalidArgument(ParseMessage(SerializeMessage(stream), &received)));
}

TEST(WireTest, NumbersArePartsOfNoMessage) {
  v1::DetokenizeRequest received;
  // Not packed, as an old client may send them.
  ASSERT_TRUE(ParseMessage(Buffer(Times("\x08\x05", 100'000)), &received).ok());
  EXPECT_EQ(received.ids_size(), 100'000);
  ASSERT_TRUE(ParseMessage(SerializeMessage(v1::DetokenizeRequest(received)), &received).ok());
  EXPECT_EQ(received.ids_size(), 100'000);
}

TEST(WireTest, LargeMessageThatDoesNotParseIsRefused) {
  v1::DetokenizeRequest request;
  EXPECT_TRUE(
      absl::IsInvalidArgument(ParseMessage(Buffer(Times("\x08\x05", 100'000) + "\xFF"), &request)));
  v1::TokenizeRequest text;
  text.set_text(std::string(100'000, 'a'));
  std::string bytes = text.SerializeAsString();
  bytes.back() = '\xFF';
  EXPECT_THAT(ViolatedFields(api::ToRpcStatus(ParseMessage(Buffer(bytes), &text))),
              ElementsAre("text"));
}

TEST(WireTest, WhatIsNoMessageIsRefused) {
  v1::GenerateRequest request;
  EXPECT_TRUE(absl::IsInvalidArgument(ParseMessage(Buffer("\x12\x7F"), &request)));  // truncated
  EXPECT_TRUE(absl::IsInvalidArgument(ParseMessage(Buffer("\xFF\xFF\xFF"), &request)));
  EXPECT_TRUE(absl::IsInvalidArgument(ParseMessage(grpc::ByteBuffer(), &request)));
}

// Table 3-7 of the Unicode standard: first and last of each row, and what is just outside.
TEST(WireTest, Utf8IsCheckedAsUnicodeDefinesIt) {
  const auto parses = [](const std::string& text) {
    v1::GenerateRequest request;
    return ParseMessage(Buffer(Field(2, text)), &request).ok();
  };
  for (const char* good :
       {"\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
        "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_TRUE(parses(good)) << good;
  }
  for (const char* bad : {"\x80", "\xC1\xBF", "\xC2", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xEF\xBF",
                          "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80"}) {
    v1::GenerateRequest request;
    const absl::Status status = ParseMessage(Buffer(Field(2, bad)), &request);
    EXPECT_THAT(ViolatedFields(api::ToRpcStatus(status)), ElementsAre("text"));
  }
}

}  // namespace
}  // namespace olmoe::rpc
