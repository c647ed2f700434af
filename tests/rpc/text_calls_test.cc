#include "server/rpc/inference_calls.h"

#include <grpcpp/client_context.h>

#include <stop_token>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/wire.h"
#include "server/text/tokenizer.h"
#include "tests/rpc/status_details.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

using ::testing::ElementsAre;

TEST(TokenizeTest, GivesIdsPiecesAndOffsets) {
  TestServer server;
  v1::TokenizeRequest request;
  request.set_text("abcx\n\n");
  v1::TokenizeResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(server.inference().Tokenize(&context, request, &response).ok());
  EXPECT_THAT(response.ids(), ElementsAre(engine::kTokenAbc, 'x', engine::kTokenBlankLine));
  EXPECT_THAT(response.pieces(), ElementsAre("abc", "x", "\n\n"));
  ASSERT_EQ(response.start_offsets_size(), 3);
  EXPECT_EQ(response.start_offsets(1), 3u);
  EXPECT_EQ(response.end_offsets(1), 4u);
}

TEST(TokenizeTest, EmptyTextHasNoTokens) {
  TestServer server;
  v1::TokenizeResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(server.inference().Tokenize(&context, {}, &response).ok());
  EXPECT_EQ(response.ids_size(), 0);
}

v1::TokenizeRequest TokenizeText(std::string text) {
  v1::TokenizeRequest request;
  request.set_text(std::move(text));
  return request;
}

// Longer than one part of the answer, and than what gRPC's own threads prepare.
TEST(TokenizeTest, LargeTextIsAnsweredAsSmallOnes) {
  TestServer server;
  std::string text;
  while (text.size() < 200 << 10) text += "abc\n\ne\u0301 x";
  const auto expected = server.contexts().serving.tokenizer->Encode(text, {.offsets = true});
  ASSERT_TRUE(expected.ok());
  v1::TokenizeResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(server.inference().Tokenize(&context, TokenizeText(text), &response).ok());
  ASSERT_EQ(response.ids_size(), static_cast<int>(expected->ids.size()));
  ASSERT_EQ(response.pieces_size(), response.ids_size());
  ASSERT_EQ(response.start_offsets_size(), response.ids_size());
  ASSERT_EQ(response.end_offsets_size(), response.ids_size());
  for (int i = 0; i < response.ids_size(); ++i) {
    ASSERT_EQ(response.ids(i), static_cast<uint32_t>(expected->ids[i]));
    ASSERT_EQ(response.pieces(i),
              server.contexts().serving.tokenizer->TokenBytes(expected->ids[i]));
    ASSERT_EQ(response.start_offsets(i), expected->offsets[i].start);
    ASSERT_EQ(response.end_offsets(i), expected->offsets[i].end);
  }
}

// U+1D160 becomes three characters of four bytes each.
TEST(TokenizeTest, TextThatNormalizationMakesMuchLongerIsRefused) {
  TestServer server;
  std::string text;
  while (text.size() < 1 << 20) text += "\U0001D160";
  const auto result =
      Tokenize(SerializeMessage(TokenizeText(text)), server.contexts().inference, Interrupt{});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kOutOfRange) << result.status();
}

TEST(TokenizeTest, CancelledOrLateCallIsNotComputed) {
  TestServer server;
  const grpc::ByteBuffer request = SerializeMessage(TokenizeText("abc"));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(
      Tokenize(request, server.contexts().inference, {.stop = stop.get_token()}).status().code(),
      absl::StatusCode::kCancelled);
  EXPECT_EQ(
      Tokenize(request, server.contexts().inference, {.stop = {}, .deadline = absl::InfinitePast()})
          .status()
          .code(),
      absl::StatusCode::kDeadlineExceeded);
}

TEST(DetokenizeTest, TextLargerThanAnAnswerMayBeIsRefused) {
  TestServerOptions options;
  options.tune = [](Contexts* contexts) { contexts->serving.max_response_bytes = 6; };
  TestServer server(options);
  v1::DetokenizeRequest request;
  for (int i = 0; i < 3; ++i) request.add_ids(engine::kTokenAb);
  v1::DetokenizeResponse response;
  grpc::ClientContext first, second;
  EXPECT_TRUE(server.inference().Detokenize(&first, request, &response).ok());
  request.add_ids('a');
  const grpc::Status status = server.inference().Detokenize(&second, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "RESPONSE_TOO_LARGE");
}

TEST(DetokenizeTest, GivesTextAndLeavesOutSpecialTokensOnRequest) {
  TestServer server;
  v1::DetokenizeRequest request;
  request.add_ids(engine::kTokenAb);
  request.add_ids(engine::kTokenEnd);
  v1::DetokenizeResponse response;
  grpc::ClientContext first, second;
  ASSERT_TRUE(server.inference().Detokenize(&first, request, &response).ok());
  EXPECT_EQ(response.text(), "ab<|end|>");
  request.set_skip_special_tokens(true);
  ASSERT_TRUE(server.inference().Detokenize(&second, request, &response).ok());
  EXPECT_EQ(response.text(), "ab");
}

TEST(DetokenizeTest, IdsOutsideTheVocabularyAreNamed) {
  TestServer server;
  v1::DetokenizeRequest request;
  request.add_ids(1);
  request.add_ids(260);
  v1::DetokenizeResponse response;
  grpc::ClientContext context;
  EXPECT_THAT(ViolatedFields(server.inference().Detokenize(&context, request, &response)),
              ElementsAre("ids[1]"));
}

TEST(TextCallsTest, WithoutATokenizerTheyAreAFailedPrecondition) {
  TestServerOptions options;
  options.tokenizer = false;
  TestServer server(options);
  v1::TokenizeResponse tokens;
  v1::DetokenizeResponse text;
  grpc::ClientContext first, second;
  EXPECT_EQ(server.inference().Tokenize(&first, {}, &tokens).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(server.inference().Detokenize(&second, {}, &text).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

TEST(ModelInfoTest, DescribesTheModel) {
  TestServerOptions options;
  options.model.eos_token_id = 259;
  options.tune = [](Contexts* contexts) { contexts->inference.max_batch_sequences = 5; };
  TestServer server(options);
  v1::GetModelInfoResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(server.inference().GetModelInfo(&context, {}, &response).ok());
  EXPECT_EQ(response.model_id(), "fake");
  EXPECT_EQ(response.num_layers(), 2u);
  EXPECT_EQ(response.num_experts(), 8u);
  EXPECT_EQ(response.default_top_k(), 2u);
  EXPECT_EQ(response.vocab_size(), 260u);
  EXPECT_EQ(response.max_context(), 1024u);
  EXPECT_EQ(response.eos_token_id(), 259u);
  EXPECT_EQ(response.dtype(), "float32");
  EXPECT_EQ(response.server_version(), "test");
  EXPECT_EQ(response.max_batch_sequences(), 5u);
  EXPECT_TRUE(response.has_tokenizer());
}

}  // namespace
}  // namespace olmoe::rpc
