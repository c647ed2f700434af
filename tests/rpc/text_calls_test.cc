#include <grpcpp/client_context.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
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
  options.tune = [](ServiceContext* context) { context->max_batch_sequences = 5; };
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
