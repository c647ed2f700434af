// Calibrations built from texts and from live tokens.
#include <grpcpp/client_context.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/calibration_fixture.h"
#include "tests/rpc/status_details.h"

namespace olmoe::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(CalibrationTest, TextsGiveTheLogitsOfTheirTokensUnderTheModelsOwnRouting) {
  const std::vector<std::string> texts = {"the first text", "another", "x"};
  std::vector<v1::GenerateResponse> replies;
  uint64_t tokens = 0;
  for (const std::string& text : texts) {
    replies.push_back(server_.Generate(Traced(TextRequest(text, 1))));
    tokens += replies.back().usage().prompt_tokens();
  }
  ASSERT_TRUE(server_.Patch(TopKPatch(1)).ok()) << "the plan of the traffic does not matter";
  v1::BuildCalibrationRequest request = FromTexts("c", texts);
  request.set_trim_top(3);
  ASSERT_TRUE(Build(request).ok());
  EXPECT_EQ(built_.calibration().tokens(), tokens);
  EXPECT_EQ(built_.calibration().trim_top(), 3u);
  EXPECT_EQ(built_.calibration().digest(), DigestByTraces(replies, 3));
  EXPECT_NE(built_.calibration().digest(), DigestByTraces(replies, 2));
  EXPECT_TRUE(Build(request).ok()) << "the same content again";
}

TEST_F(CalibrationTest, LongTextsAreScoredWindowByWindow) {
  // The context is 1024 tokens, and so are the rows of one group.
  ASSERT_TRUE(Build(FromTexts("c", {std::string(2500, 'a'), "bb", std::string(1024, 'c')})).ok());
  EXPECT_GT(built_.calibration().tokens(), 1024u * 2);
  const auto outcomes = server_.outcomes();
  EXPECT_GE(outcomes.size(), 4u);
  for (const Outcome& outcome : outcomes) {
    EXPECT_EQ(outcome.method, "BuildCalibration");
    EXPECT_EQ(outcome.arm_id, "inline");
    EXPECT_EQ(outcome.code, absl::StatusCode::kOk);
  }
}

TEST_F(CalibrationTest, EveryBadFieldOfABuildIsNamed) {
  v1::BuildCalibrationRequest request;
  request.set_trim_top(7);
  grpc::Status status = Build(request);
  EXPECT_THAT(ViolatedFields(status), ElementsAre("calibration_id", "trim_top", "source"));
  request.mutable_texts();
  EXPECT_THAT(ViolatedFields(Build(request)),
              ElementsAre("calibration_id", "trim_top", "texts.texts"));
  request.mutable_texts()->add_texts("");
  request.mutable_texts()->add_texts("a");
  request.mutable_texts()->add_texts("");
  EXPECT_THAT(ViolatedFields(Build(request)),
              ElementsAre("calibration_id", "trim_top", "texts.texts[0]", "texts.texts[2]"));
  request.mutable_live()->add_arm_ids("default");
  request.mutable_live()->add_arm_ids("nobody");
  request.mutable_live()->add_arm_ids("No Name");
  request.mutable_live()->add_arm_ids("inline");
  EXPECT_THAT(ViolatedFields(Build(request)),
              ElementsAre("calibration_id", "trim_top", "live.tokens", "live.arm_ids[1]",
                          "live.arm_ids[2]"));
  EXPECT_THAT(Names(), IsEmpty());
  request = FromTexts("c", {"a"});
  request.set_trim_top(6);
  EXPECT_TRUE(Build(request).ok()) << "the largest";
}

class SmallStepsTest : public CalibrationTest {
 protected:
  SmallStepsTest() : CalibrationTest(Options()) {}

 private:
  static TestServerOptions Options() {
    TestServerOptions options;
    options.engine.max_batch_tokens = 2;
    return options;
  }
};

TEST_F(SmallStepsTest, ABuildThatIsCancelledAddsNothing) {
  server_.model().Hold();
  grpc::ClientContext context;
  grpc::Status status;
  std::thread call([&] {
    status = server_.admin().BuildCalibration(&context, FromTexts("c", {std::string(1000, 'a')}),
                                              &built_);
  });
  server_.model().AwaitStepBegun(1);
  context.TryCancel();
  call.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  // A step at a time, and a call on the same connection: the cancellation is not far behind.
  while (!server_.engine().Status().requests.empty()) {
    server_.model().Allow(1);
    List();
  }
  EXPECT_LT(server_.model().counters().steps, 500);
  EXPECT_THAT(Names(), IsEmpty());
}

TEST(CalibrationWithoutTokenizerTest, TextsAreRefused) {
  TestServer server({.tokenizer = false});
  grpc::ClientContext context;
  v1::BuildCalibrationResponse response;
  EXPECT_EQ(
      server.admin().BuildCalibration(&context, FromTexts("c", {"a"}), &response).error_code(),
      grpc::StatusCode::FAILED_PRECONDITION);
}

class LiveTest : public CalibrationTest {
 protected:
  // Begins a build of live tokens and waits until the engine knows of it: a request
  // submitted after this is seen. Once a test.
  void Begin(const v1::BuildCalibrationRequest& request) {
    call_ = std::thread([this, request] {
      status_ = server_.admin().BuildCalibration(&context_, request, &built_);
    });
    AwaitTaps(1);
  }
  grpc::Status End() {
    call_.join();
    return status_;
  }

  void AwaitTaps(int count) {
    while (server_.engine().Status().taps != count) std::this_thread::yield();
  }

  grpc::ClientContext context_;
  std::thread call_;
  grpc::Status status_;
};

TEST_F(LiveTest, CollectsExactlyTheNextTokensAndRepliesAreTheSame) {
  const v1::GenerateResponse untapped =
      server_.Generate(Traced(TokenRequest({1, 2, 3}, 5)));  // 7 rows
  v1::BuildCalibrationRequest request = FromLive("c", 9);
  request.set_trim_top(1);
  Begin(request);
  EXPECT_EQ(server_.Generate(TokenRequest({1, 2, 3}, 5)).token_ids().at(4),
            untapped.token_ids().at(4));
  const v1::GenerateResponse second = server_.Generate(Traced(TokenRequest({4, 5}, 1)));  // 2 rows
  ASSERT_TRUE(End().ok()) << status_.error_message();
  EXPECT_EQ(built_.calibration().tokens(), 9u);
  EXPECT_EQ(built_.calibration().digest(), DigestByTraces({untapped, second}, 1));
  EXPECT_THAT(Names(), ElementsAre("c"));
}

TEST_F(LiveTest, CollectsOfTheNamedArmsOnly) {
  v1::PatchRoutersRequest patch;
  for (const char* id : {"a", "b"}) {
    v1::Arm* arm = patch.mutable_plan()->add_arms();
    arm->set_arm_id(id);
    arm->set_weight(1);
    arm->set_allow_explicit(true);
    arm->mutable_policy()->set_policy_id(id);
  }
  ASSERT_TRUE(server_.Patch(patch).ok());
  v1::BuildCalibrationRequest request = FromLive("c", 2);
  request.mutable_live()->add_arm_ids("b");
  Begin(request);
  v1::GenerateRequest of_a = TokenRequest({1, 2, 3}, 5), of_b = Traced(TokenRequest({4, 5}, 1));
  of_a.mutable_routing()->set_arm_id("a");
  of_b.mutable_routing()->set_arm_id("b");
  server_.Generate(of_a);
  const v1::GenerateResponse reply = server_.Generate(of_b);
  ASSERT_TRUE(End().ok());
  EXPECT_EQ(built_.calibration().digest(), DigestByTraces({reply}, 0));
}

TEST_F(LiveTest, CancellationEndsIt) {
  Begin(FromLive("c", 100));
  server_.Generate(TokenRequest({1, 2, 3}, 5));
  context_.TryCancel();
  EXPECT_EQ(End().error_code(), grpc::StatusCode::CANCELLED);
  AwaitTaps(0);
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(LiveTest, ItsDeadlineEndsIt) {
  context_.set_deadline(absl::ToChronoTime(absl::Now() + absl::Hours(1)));
  Begin(FromLive("c", 100));
  server_.PassTime(absl::Hours(2));
  server_.Generate(TokenRequest({1}, 1));
  EXPECT_EQ(End().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  AwaitTaps(0);
}

TEST_F(LiveTest, DrainEndsIt) {
  Begin(FromLive("c", 100));
  grpc::ClientContext drain;
  v1::DrainResponse drained;
  ASSERT_TRUE(server_.admin().Drain(&drain, {}, &drained).ok());
  EXPECT_EQ(End().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(drained.aborted_requests(), 0u);
}

TEST_F(LiveTest, ShutdownEndsIt) {
  Begin(FromLive("c", 100));
  server_.admin_server().Shutdown(absl::Now());
  EXPECT_FALSE(End().ok());
  AwaitTaps(0);
}

TEST_F(LiveTest, ATakenNameIsRefusedBeforeAnythingIsCollected) {
  ASSERT_TRUE(Put(Upload("c", {0, 1})).ok());
  EXPECT_EQ(Build(FromLive("c", 1)).error_code(), grpc::StatusCode::ALREADY_EXISTS);
}

TEST_F(LiveTest, FourAtATimeAndTheFifthIsToldToComeBack) {
  std::vector<std::thread> calls;
  std::vector<grpc::ClientContext> contexts(4);
  for (int i = 0; i < 4; ++i) {
    calls.emplace_back([&, i] {
      v1::BuildCalibrationResponse response;
      server_.admin().BuildCalibration(&contexts[i], FromLive(absl::StrCat("c", i), 5), &response);
    });
  }
  AwaitTaps(4);
  const grpc::Status status = Build(FromLive("c4", 5));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(HasRetryInfo(status));
  server_.Generate(TokenRequest({1, 2, 3}, 3));
  for (std::thread& call : calls) call.join();
  EXPECT_THAT(Names(), ElementsAre("c0", "c1", "c2", "c3"));
}

}  // namespace
}  // namespace olmoe::rpc
