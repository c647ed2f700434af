// Every request field out of range: the documented code, every violation in one reply,
// and a server that goes on.
#include <grpcpp/client_context.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/generic_call.h"
#include "tests/rpc/status_details.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

class BadInputTest : public ::testing::Test {
 protected:
  // After every bad request the server still answers a good one.
  void TearDown() override {
    EXPECT_TRUE(Generate(TokenRequest({1}, 1)).ok());
    EXPECT_EQ(server_.engine().Status().kv_used_bytes, 0);
  }

  grpc::Status Generate(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    v1::GenerateResponse response;
    return server_.inference().Generate(&context, request, &response);
  }
  grpc::Status Score(const v1::ScoreRequest& request) {
    grpc::ClientContext context;
    v1::ScoreResponse response;
    return server_.inference().Score(&context, request, &response);
  }

  TestServer server_;
};

struct BadField {
  const char* field;
  std::function<void(v1::GenerateRequest*)> spoil;
};

const std::vector<BadField>& BadFields() {
  using Request = v1::GenerateRequest;
  static const auto& fields = *new std::vector<BadField>{
      {"request_id", [](Request* r) { r->set_request_id(std::string(65, 'a')); }},
      {"request_id", [](Request* r) { r->set_request_id("tab\t"); }},
      {"request_id", [](Request* r) { r->set_request_id("caf\xC3\xA9"); }},
      {"prompt", [](Request* r) { r->clear_prompt(); }},
      {"text", [](Request* r) { r->set_text(""); }},
      {"tokens.ids", [](Request* r) { r->mutable_tokens()->clear_ids(); }},
      {"tokens.ids[0]", [](Request* r) { r->mutable_tokens()->set_ids(0, 260); }},
      {"tokens.ids[0]", [](Request* r) { r->mutable_tokens()->set_ids(0, 0xFFFFFFFF); }},
      {"max_new_tokens", [](Request* r) { r->set_max_new_tokens(0); }},
      {"sampling.temperature", [](Request* r) { r->mutable_sampling()->set_temperature(kNan); }},
      {"sampling.temperature", [](Request* r) { r->mutable_sampling()->set_temperature(-1); }},
      {"sampling.temperature",
       [](Request* r) { r->mutable_sampling()->set_temperature(kInfinity); }},
      {"sampling.top_p", [](Request* r) { r->mutable_sampling()->set_top_p(0); }},
      {"sampling.top_p", [](Request* r) { r->mutable_sampling()->set_top_p(1.5); }},
      {"sampling.top_p", [](Request* r) { r->mutable_sampling()->set_top_p(kNan); }},
      {"sampling.min_p", [](Request* r) { r->mutable_sampling()->set_min_p(-0.1); }},
      {"sampling.min_p", [](Request* r) { r->mutable_sampling()->set_min_p(kNan); }},
      {"n", [](Request* r) { r->set_n(0); }},
      {"n", [](Request* r) { r->set_n(17); }},
      {"n",
       [](Request* r) {
         r->set_n(2);
         r->set_max_new_tokens(0);
         r->set_prompt_logprobs(0);
       }},
      {"prompt_logprobs", [](Request* r) { r->set_prompt_logprobs(21); }},
      {"sampling.presence_penalty",
       [](Request* r) { r->mutable_sampling()->set_presence_penalty(2.1); }},
      {"sampling.frequency_penalty",
       [](Request* r) { r->mutable_sampling()->set_frequency_penalty(kNan); }},
      {"sampling.logit_bias[1]",
       [](Request* r) { (*r->mutable_sampling()->mutable_logit_bias())[1] = kNan; }},
      {"sampling.logit_bias[4000000000]",
       [](Request* r) { (*r->mutable_sampling()->mutable_logit_bias())[4'000'000'000] = 1; }},
      {"sampling.logit_bias",
       [](Request* r) {
         for (uint32_t i = 0; i < 1025; ++i) (*r->mutable_sampling()->mutable_logit_bias())[i] = 1;
       }},
      {"sampling.repetition_penalty",
       [](Request* r) { r->mutable_sampling()->set_repetition_penalty(0); }},
      {"sampling.repetition_penalty",
       [](Request* r) { r->mutable_sampling()->set_repetition_penalty(kInfinity); }},
      {"stop",
       [](Request* r) {
         for (int i = 0; i < 65; ++i) r->add_stop(std::string("x"));
       }},
      {"stop[0]", [](Request* r) { r->add_stop(""); }},
      {"stop[0]", [](Request* r) { r->add_stop(std::string(257, 'a')); }},
      {"stop_token_ids",
       [](Request* r) {
         for (int i = 0; i < 65; ++i) r->add_stop_token_ids(1);
       }},
      {"stop_token_ids[0]", [](Request* r) { r->add_stop_token_ids(260); }},
      {"logprobs", [](Request* r) { r->set_logprobs(21); }},
      {"unit_id", [](Request* r) { r->set_unit_id(std::string(257, 'u')); }},
  };
  return fields;
}

TEST_F(BadInputTest, EveryFieldOutOfRangeIsNamed) {
  for (const BadField& bad : BadFields()) {
    v1::GenerateRequest request = TokenRequest({1}, 1);
    bad.spoil(&request);
    const grpc::Status status = Generate(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << bad.field;
    EXPECT_THAT(ViolatedFields(status), ElementsAre(bad.field));
    EXPECT_THAT(status.error_message(), HasSubstr(bad.field));
  }
}

TEST_F(BadInputTest, AllViolationsComeAtOnce) {
  v1::GenerateRequest request;
  request.set_request_id(std::string(65, 'a'));
  request.mutable_tokens()->add_ids(1);
  request.mutable_tokens()->add_ids(999);
  request.mutable_sampling()->set_temperature(kNan);
  request.mutable_sampling()->set_top_p(2);
  for (int i = 0; i < 65; ++i) request.add_stop("x");
  request.add_stop_token_ids(999);
  request.set_logprobs(21);
  request.set_unit_id(std::string(257, 'u'));
  // Text and permissions are told only when the fields are good.
  request.mutable_routing()->mutable_policy();
  EXPECT_THAT(ViolatedFields(Generate(request)),
              ElementsAre("request_id", "tokens.ids[1]", "sampling.temperature", "sampling.top_p",
                          "stop", "stop_token_ids[0]", "logprobs", "unit_id", "max_new_tokens"));
}

TEST_F(BadInputTest, BoundariesAreInside) {
  v1::GenerateRequest request = TokenRequest({0, 259}, 1);
  request.set_request_id(std::string(64, '~'));
  request.mutable_sampling()->set_temperature(1e-300);
  request.mutable_sampling()->set_top_p(1);
  request.mutable_sampling()->set_top_k(0xFFFFFFFF);
  request.mutable_sampling()->set_min_p(1);
  for (int i = 0; i < 64; ++i) request.add_stop(std::string(256, 'a'));
  for (int i = 0; i < 64; ++i) request.add_stop_token_ids(259);
  request.set_logprobs(20);
  request.set_unit_id(std::string(256, 'u'));
  const grpc::Status status = Generate(request);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(BadInputTest, ManyBadTokenIdsAreCounted) {
  v1::GenerateRequest request = TokenRequest(std::vector<uint32_t>(100000, 999), 1);
  const grpc::Status status = Generate(request);
  EXPECT_EQ(ViolatedFields(status).size(), 9u);
  EXPECT_THAT(status.error_message(), HasSubstr("99992 more ids are not < 260"));
}

TEST_F(BadInputTest, BeyondTheContextIsOutOfRangeWithBothNumbers) {
  EXPECT_TRUE(Generate(TokenRequest(std::vector<uint32_t>(1000, 1), 24)).ok());
  const grpc::Status status = Generate(TokenRequest(std::vector<uint32_t>(1000, 1), 25));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  const google::rpc::ErrorInfo info = ErrorInfoOf(status);
  EXPECT_EQ(info.reason(), "CONTEXT_LENGTH_EXCEEDED");
  EXPECT_EQ(info.metadata().at("prompt_tokens"), "1000");
  EXPECT_EQ(info.metadata().at("max_new_tokens"), "25");
  EXPECT_EQ(info.metadata().at("max_context"), "1024");
  EXPECT_EQ(Generate(TokenRequest({1}, 0xFFFFFFFF)).error_code(), grpc::StatusCode::OUT_OF_RANGE);
}

TEST_F(BadInputTest, TenMegabytesOfPromptAreOutOfRange) {
  const grpc::Status status = Generate(TextRequest(std::string(10'000'000, 'x'), 1));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(ErrorInfoOf(status).metadata().at("prompt_tokens"), "10000000");
}

TEST_F(BadInputTest, MoreThanTheMessageLimitIsResourceExhausted) {
  const grpc::Status status = Generate(TextRequest(std::string(17 << 20, 'x'), 1));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("larger than max"));
}

TEST_F(BadInputTest, IllFormedTextIsNamedInEveryUnaryCall) {
  const std::string text = std::string("\x12\x03") + "ok\xFF";  // field 2
  const std::string first = std::string("\x0A\x01\xFF", 3);     // field 1
  const struct {
    const char* method;
    std::string bytes;
    const char* field;
  } cases[] = {{"Generate", text, "text"},
               {"GenerateStream", text, "text"},
               {"Score", first, "request_id"},
               {"Tokenize", first, "text"}};
  for (const auto& test : cases) {
    const GenericReply reply = CallUnary(
        server_.NewChannel(), absl::StrCat("/olmoe.v1.InferenceService/", test.method), test.bytes);
    EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << test.method;
    EXPECT_THAT(ViolatedFields(reply.status), ElementsAre(test.field)) << test.method;
  }
}

TEST_F(BadInputTest, BytesThatAreNoMessageAreInvalid) {
  for (const char* method : {"Generate", "GenerateStream", "Score", "Tokenize", "Detokenize"}) {
    const GenericReply reply = CallUnary(
        server_.NewChannel(), absl::StrCat("/olmoe.v1.InferenceService/", method), "\xFF\xFF");
    EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
  }
}

TEST_F(BadInputTest, AnArmThatIsNotThereIsPermissionDenied) {
  v1::GenerateRequest request = TokenRequest({1}, 1);
  request.mutable_routing()->set_arm_id("nobody");
  const grpc::Status status = Generate(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "ARM_NOT_ALLOWED");
}

TEST_F(BadInputTest, AnInlinePolicyIsPermissionDeniedByDefault) {
  v1::GenerateRequest request = TokenRequest({1}, 1);
  *request.mutable_routing()->mutable_policy() = TopKPatch(1).policy();
  const grpc::Status status = Generate(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "INLINE_POLICY_NOT_ALLOWED");
}

TEST(BadInlinePolicyTest, ItsViolationsComeWithTheOthers) {
  TestServerOptions options;
  options.tune = [](Contexts* contexts) { contexts->serving.allow_inline_policy = true; };
  TestServer server(options);
  v1::GenerateRequest request = TokenRequest({1}, 0);
  *request.mutable_routing()->mutable_policy() = TopKPatch(9).policy();
  request.mutable_routing()->mutable_policy()->mutable_apply()->set_weight_mode(
      static_cast<v1::WeightMode>(77));
  grpc::ClientContext context;
  v1::GenerateResponse response;
  EXPECT_THAT(ViolatedFields(server.inference().Generate(&context, request, &response)),
              ElementsAre("routing.policy.apply.weight_mode", "routing.policy.apply.top_k.k",
                          "max_new_tokens"));
}

TEST(WithoutTokenizerTest, TextIsAFailedPreconditionAndTokensWork) {
  TestServerOptions options;
  options.tokenizer = false;
  TestServer server(options);
  const auto generate = [&](const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    v1::GenerateResponse response;
    return server.inference().Generate(&context, request, &response).error_code();
  };
  v1::GenerateRequest with_stop = TokenRequest({1}, 1);
  with_stop.add_stop("x");
  EXPECT_EQ(generate(TextRequest("a", 1)), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(generate(with_stop), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(generate(TokenRequest({1}, 1)), grpc::StatusCode::OK);
  // A violation is told first.
  EXPECT_EQ(generate(TextRequest("a", 0)), grpc::StatusCode::INVALID_ARGUMENT);
}

v1::ScoreItem* AddItem(v1::ScoreRequest* request) {
  v1::ScoreItem* item = request->add_items();
  item->mutable_context_tokens()->add_ids(1);
  item->mutable_continuation_tokens()->add_ids(2);
  return item;
}

TEST_F(BadInputTest, EveryScoreFieldOutOfRangeIsNamed) {
  v1::ScoreRequest request;
  request.set_request_id("\n");
  request.set_top(21);
  request.set_unit_id(std::string(257, 'u'));
  AddItem(&request);
  AddItem(&request)->clear_continuation();
  AddItem(&request)->mutable_continuation_tokens()->clear_ids();
  AddItem(&request)->set_continuation_text("");
  AddItem(&request)->mutable_context_tokens()->set_ids(0, 260);
  AddItem(&request)->mutable_continuation_tokens()->set_ids(0, 260);
  EXPECT_THAT(ViolatedFields(Score(request)),
              ElementsAre("request_id", "top", "unit_id", "items[1].continuation",
                          "items[2].continuation", "items[3].continuation",
                          "items[4].context_tokens.ids[0]", "items[5].continuation_tokens.ids[0]"));
}

TEST_F(BadInputTest, ScoreTakesOneTo256Items) {
  v1::ScoreRequest request;
  EXPECT_THAT(ViolatedFields(Score(request)), ElementsAre("items"));
  for (int i = 0; i < 256; ++i) AddItem(&request);
  EXPECT_TRUE(Score(request).ok());
  AddItem(&request);
  EXPECT_THAT(ViolatedFields(Score(request)), ElementsAre("items"));
}

TEST_F(BadInputTest, TwoHundredBadItemsStillGetTheirCode) {
  v1::ScoreRequest request;
  for (int i = 0; i < 200; ++i) request.add_items();
  const grpc::Status status = Score(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_GT(ViolatedFields(status).size(), 20u);
}

TEST_F(BadInputTest, AContinuationLongerThanTheContextIsOutOfRangeUnlessRolling) {
  v1::ScoreRequest request;
  v1::ScoreItem* item = AddItem(&request);
  for (int i = 0; i < 1024; ++i) item->mutable_continuation_tokens()->add_ids(3);
  const grpc::Status status = Score(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(ErrorInfoOf(status).metadata().at("continuation_tokens"), "1025");
  item->set_rolling(true);
  EXPECT_TRUE(Score(request).ok());
}

TEST_F(BadInputTest, AnAnswerThatWouldBeTooLargeIsOutOfRange) {
  v1::ScoreRequest request;
  v1::ScoreItem* item = AddItem(&request);
  item->set_rolling(true);
  item->mutable_continuation_tokens()->mutable_ids()->Resize(4'000'000, 1);
  request.set_top(20);
  const grpc::Status status = Score(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(ErrorInfoOf(status).reason(), "RESPONSE_TOO_LARGE");
}

}  // namespace
}  // namespace olmoe::rpc
