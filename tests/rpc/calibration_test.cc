// The calibration calls over a FakeModel (2 layers, 8 experts) and a real engine.
#include <grpcpp/client_context.h>

#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/routing/calibration_builder.h"
#include "tests/rpc/status_details.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

v1::PutCalibrationRequest Layer(uint32_t layer, std::vector<double> cdf) {
  v1::PutCalibrationRequest message;
  message.mutable_layer_cdf()->set_layer(layer);
  message.mutable_layer_cdf()->set_x0(-4);
  message.mutable_layer_cdf()->set_dx(8.0 / static_cast<double>(cdf.size() - 1));
  message.mutable_layer_cdf()->mutable_cdf()->Add(cdf.begin(), cdf.end());
  return message;
}

std::vector<v1::PutCalibrationRequest> Upload(const std::string& id, std::vector<double> cdf) {
  std::vector<v1::PutCalibrationRequest> messages = {Layer(0, cdf), Layer(1, cdf)};
  messages[0].set_calibration_id(id);
  return messages;
}

class CalibrationTest : public ::testing::Test {
 protected:
  explicit CalibrationTest(TestServerOptions options = {}) : server_(std::move(options)) {}

  // The reply is in put_.
  grpc::Status Put(const std::vector<v1::PutCalibrationRequest>& messages) {
    grpc::ClientContext context;
    put_.Clear();
    const auto writer = server_.admin().PutCalibration(&context, &put_);
    for (const v1::PutCalibrationRequest& message : messages) {
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }
  grpc::Status Build(const v1::BuildCalibrationRequest& request) {
    grpc::ClientContext context;
    built_.Clear();
    return server_.admin().BuildCalibration(&context, request, &built_);
  }
  grpc::Status Delete(const std::string& id) {
    grpc::ClientContext context;
    v1::DeleteCalibrationRequest request;
    request.set_calibration_id(id);
    v1::DeleteCalibrationResponse response;
    return server_.admin().DeleteCalibration(&context, request, &response);
  }
  // The layers in get_.
  grpc::Status Get(const std::string& id) {
    grpc::ClientContext context;
    v1::GetCalibrationRequest request;
    request.set_calibration_id(id);
    get_.clear();
    const auto reader = server_.admin().GetCalibration(&context, request);
    v1::GetCalibrationResponse message;
    while (reader->Read(&message)) get_.push_back(message.layer_cdf());
    return reader->Finish();
  }
  std::vector<v1::CalibrationInfo> List() {
    grpc::ClientContext context;
    v1::ListCalibrationsResponse response;
    EXPECT_TRUE(server_.admin().ListCalibrations(&context, {}, &response).ok());
    return {response.calibrations().begin(), response.calibrations().end()};
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const v1::CalibrationInfo& info : List()) names.push_back(info.calibration_id());
    return names;
  }
  grpc::Status Patch(const v1::PatchRoutersRequest& request) {
    grpc::ClientContext context;
    v1::PatchRoutersResponse response;
    return server_.admin().PatchRouters(&context, request, &response);
  }
  void Unpatch() {
    grpc::ClientContext context;
    v1::PatchRoutersResponse response;
    ASSERT_TRUE(server_.admin().UnpatchRouters(&context, {}, &response).ok());
  }
  v1::GenerateResponse Generate(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    v1::GenerateResponse response;
    const grpc::Status status = server_.inference().Generate(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  TestServer server_;
  v1::PutCalibrationResponse put_;
  v1::BuildCalibrationResponse built_;
  std::vector<v1::LayerCdf> get_;
};

v1::PatchRoutersRequest BhPatch(const std::string& calibration, double alpha = 0.5) {
  v1::PatchRoutersRequest request;
  request.mutable_policy()->set_policy_id("bh");
  v1::BenjaminiHochberg* bh = request.mutable_policy()->mutable_apply()->mutable_bh();
  bh->set_alpha(alpha);
  bh->set_calibration_id(calibration);
  return request;
}

v1::BuildCalibrationRequest FromTexts(const std::string& id, std::vector<std::string> texts) {
  v1::BuildCalibrationRequest request;
  request.set_calibration_id(id);
  request.mutable_texts()->mutable_texts()->Add(texts.begin(), texts.end());
  return request;
}

v1::BuildCalibrationRequest FromLive(const std::string& id, uint64_t tokens) {
  v1::BuildCalibrationRequest request;
  request.set_calibration_id(id);
  request.mutable_live()->set_tokens(tokens);
  return request;
}

// ---------------------------------------------------------------- put, get, list, delete

TEST_F(CalibrationTest, WhatIsPutCanBeListedReadAndUsed) {
  EXPECT_EQ(Patch(BhPatch("c")).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(Put(Upload("c", {0, 0.5, 1})).ok());
  EXPECT_EQ(put_.calibration().calibration_id(), "c");
  EXPECT_EQ(put_.calibration().num_layers(), 2u);
  EXPECT_EQ(put_.calibration().digest().size(), 64u);
  EXPECT_FALSE(put_.calibration().in_use());
  ASSERT_TRUE(Patch(BhPatch("c")).ok());
  ASSERT_EQ(List().size(), 1u);
  EXPECT_TRUE(List()[0].in_use());
  EXPECT_EQ(List()[0].digest(), put_.calibration().digest());
  ASSERT_TRUE(Get("c").ok());
  ASSERT_EQ(get_.size(), 2u);
  EXPECT_EQ(get_[1].layer(), 1u);
  EXPECT_EQ(get_[1].x0(), -4);
  EXPECT_EQ(get_[1].dx(), 4);
  EXPECT_THAT(get_[1].cdf(), ElementsAre(0, 0.5, 1));
  EXPECT_THAT(get_[1].survival(), ElementsAre(1, 0.5, 0));
}

TEST_F(CalibrationTest, ANameMeansOneContentForEver) {
  ASSERT_TRUE(Put(Upload("c", {0, 0.5, 1})).ok());
  EXPECT_TRUE(Put(Upload("c", {0, 0.5, 1})).ok());
  EXPECT_EQ(Put(Upload("c", {0, 0.25, 1})).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  ASSERT_TRUE(Get("c").ok());
  EXPECT_EQ(get_[0].cdf(1), 0.5);
}

TEST_F(CalibrationTest, EveryBadFieldOfAnUploadIsNamedAndNothingIsAdded) {
  std::vector<v1::PutCalibrationRequest> messages = {
      Layer(0, {0, 0.5, 1}), Layer(2, {0, 1}), Layer(0, {0, 0.5, 0.4}), {}, Layer(1, {0, 1})};
  messages[0].set_calibration_id("No Name");
  messages[2].set_calibration_id("other");
  messages[4].mutable_layer_cdf()->set_dx(0);
  messages[4].mutable_layer_cdf()->set_x0(kNaN);
  messages[4].mutable_layer_cdf()->add_survival(1);
  messages.push_back(Layer(7, {kNaN, 1}));
  const grpc::Status status = Put(messages);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(ViolatedFields(status),
              ElementsAre("messages[0].calibration_id", "messages[1].layer_cdf.layer",
                          "messages[2].calibration_id", "messages[2].layer_cdf.layer",
                          "messages[2].layer_cdf.cdf[2]", "messages[3].layer_cdf",
                          "messages[4].layer_cdf.survival", "messages[4].layer_cdf.x0",
                          "messages[4].layer_cdf.dx", "messages[5].layer_cdf.layer",
                          "messages[5].layer_cdf.cdf[0]"));
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(CalibrationTest, AnUploadThatBreaksOffIsNotASmallerCalibration) {
  std::vector<v1::PutCalibrationRequest> messages = Upload("c", {0, 1});
  messages.pop_back();
  const grpc::Status status = Put(messages);
  EXPECT_THAT(ViolatedFields(status), ElementsAre("layer_cdf"));
  EXPECT_THAT(status.error_message(), HasSubstr("missing for 1"));
  EXPECT_THAT(ViolatedFields(Put({})), ElementsAre("calibration_id", "layer_cdf"));
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(CalibrationTest, AnEndlessBadUploadIsEndedByTheServer) {
  std::vector<v1::PutCalibrationRequest> messages = Upload("c", {0, 1});
  messages.resize(100'000, Layer(1, {0, 1}));
  const grpc::Status status = Put(messages);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(CalibrationTest, PointsMustBeAsManyAsATableCanHave) {
  EXPECT_THAT(ViolatedFields(Put(Upload("c", std::vector<double>(65537, 0.5)))),
              ElementsAre("messages[0].layer_cdf.cdf", "messages[1].layer_cdf.cdf"));
  EXPECT_TRUE(Put(Upload("c", std::vector<double>(65536, 0.5))).ok());
  std::vector<v1::PutCalibrationRequest> none = Upload("d", {0, 1});
  none[1].mutable_layer_cdf()->clear_cdf();
  EXPECT_THAT(ViolatedFields(Put(none)), ElementsAre("messages[1].layer_cdf.cdf"));
}

TEST_F(CalibrationTest, WhatGetGivesCanBePutUnderTheSameDigest) {
  ASSERT_TRUE(Build(FromTexts("built", {"some text to count"})).ok());
  ASSERT_TRUE(Get("built").ok());
  std::vector<v1::PutCalibrationRequest> messages(get_.size());
  messages[0].set_calibration_id("copy");
  for (size_t i = 0; i < get_.size(); ++i) *messages[i].mutable_layer_cdf() = get_[i];
  ASSERT_TRUE(Put(messages).ok());
  EXPECT_EQ(put_.calibration().digest(), built_.calibration().digest());
  for (auto& message : messages) message.mutable_layer_cdf()->clear_cdf();
  messages[0].set_calibration_id("survival-alone");
  ASSERT_TRUE(Put(messages).ok());
  EXPECT_EQ(put_.calibration().digest(), built_.calibration().digest());
  messages[0].mutable_layer_cdf()->set_survival(7, 2);
  messages[1].mutable_layer_cdf()->set_survival(9, kNaN);
  EXPECT_THAT(ViolatedFields(Put(messages)), ElementsAre("messages[0].layer_cdf.survival[7]",
                                                         "messages[1].layer_cdf.survival[9]"));
  *messages[1].mutable_layer_cdf() = get_[1];
  *messages[0].mutable_layer_cdf() = get_[0];
  for (double& cdf : *messages[0].mutable_layer_cdf()->mutable_cdf()) cdf = 0.5;
  EXPECT_THAT(ViolatedFields(Put(messages)), ElementsAre("messages[0].layer_cdf.survival[0]"));
}

TEST_F(CalibrationTest, NamesThatAreNotThereOrNoNames) {
  EXPECT_EQ(Get("c").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Delete("c").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(ViolatedFields(Get("../c")), ElementsAre("calibration_id"));
  EXPECT_THAT(ViolatedFields(Delete("")), ElementsAre("calibration_id"));
}

TEST_F(CalibrationTest, OneInUseCannotBeDeleted) {
  ASSERT_TRUE(Put(Upload("c", {0, 0.5, 1})).ok());
  ASSERT_TRUE(Put(Upload("d", {0, 0.25, 1})).ok());
  // In an override's analyzed rule, in the second arm.
  v1::PatchRoutersRequest request;
  for (const char* id : {"a", "b"}) {
    v1::Arm* arm = request.mutable_plan()->add_arms();
    arm->set_arm_id(id);
    arm->set_weight(1);
    arm->mutable_policy()->set_policy_id(id);
  }
  v1::LayerOverride* layers =
      request.mutable_plan()->mutable_arms(1)->mutable_policy()->add_layer_overrides();
  layers->add_layers(1);
  layers->mutable_analyze()->mutable_hc()->set_calibration_id("c");
  ASSERT_TRUE(Patch(request).ok());
  const grpc::Status status = Delete("c");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("in use"));
  EXPECT_TRUE(Delete("d").ok());
  Unpatch();
  EXPECT_TRUE(Delete("c").ok());
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_EQ(Patch(request).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(CalibrationTest, OneThatAnOldPlansRequestStillNeedsCannotBeDeleted) {
  ASSERT_TRUE(Put(Upload("c", {0, 0.5, 1})).ok());
  ASSERT_TRUE(Patch(BhPatch("c")).ok());
  server_.model().Hold();
  std::thread call([&] { Generate(TokenRequest({1}, 3)); });
  server_.model().AwaitStepBegun(1);
  Unpatch();
  EXPECT_EQ(Delete("c").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(List()[0].in_use());
  server_.model().Unhold();
  call.join();
  EXPECT_TRUE(Delete("c").ok());
}

TEST_F(CalibrationTest, TheDigestOfAReplyFollowsTheContent) {
  ASSERT_TRUE(Put(Upload("c", {0, 0.5, 1})).ok());
  ASSERT_TRUE(Put(Upload("same", {0, 0.5, 1})).ok());
  ASSERT_TRUE(Put(Upload("other", {0, 0.25, 1})).ok());
  ASSERT_TRUE(Build(FromTexts("built", {"abc"})).ok());
  std::vector<std::string> digests;
  for (const char* id : {"c", "same", "other", "built"}) {
    ASSERT_TRUE(Patch(BhPatch(id)).ok());
    digests.push_back(Generate(TokenRequest({1, 2}, 1)).routing().policy_digest());
  }
  EXPECT_EQ(digests[0], digests[1]);
  EXPECT_NE(digests[0], digests[2]);
  EXPECT_NE(digests[0], digests[3]);
  // A name that is free again may mean something else: replies say so.
  Unpatch();
  ASSERT_TRUE(Delete("c").ok());
  ASSERT_TRUE(Put(Upload("c", {0, 0.25, 1})).ok());
  ASSERT_TRUE(Patch(BhPatch("c")).ok());
  EXPECT_EQ(Generate(TokenRequest({1, 2}, 1)).routing().policy_digest(), digests[2]);
}

class CalibrationHookTest : public CalibrationTest {
 protected:
  CalibrationHookTest() : CalibrationTest(Options()) {}
  static TestServerOptions Options() {
    TestServerOptions options;
    options.calibration_hooks.before_add = [](const routing::Calibration& calibration) {
      return calibration.calibration_id() == "full" ? absl::ResourceExhaustedError("disk full")
                                                    : absl::OkStatus();
    };
    options.calibration_hooks.before_remove = [](const std::string& id) {
      return id == "kept" ? absl::FailedPreconditionError("a kept plan names it")
                          : absl::OkStatus();
    };
    return options;
  }
};

TEST_F(CalibrationHookTest, WhatCannotBeStoredIsNotAdded) {
  EXPECT_EQ(Put(Upload("full", {0, 1})).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Build(FromTexts("full", {"abc"})).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Put(Upload("kept", {0, 1})).ok());
  EXPECT_EQ(Delete("kept").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(Names(), ElementsAre("kept"));
}

// ---------------------------------------------------------------- from texts

// The calibration of the router logits of prompts, by the traces of the same prompts.
std::string DigestByTraces(const std::vector<v1::GenerateResponse>& replies, int trim_top) {
  auto builder = routing::CalibrationBuilder::Create({2, 8, 2, false}, trim_top);
  for (const v1::GenerateResponse& reply : replies) {
    const std::string& bytes = reply.trace().logits();
    std::vector<float> logits(bytes.size() / sizeof(float));
    std::memcpy(logits.data(), bytes.data(), bytes.size());
    for (size_t i = 0; i < logits.size() / 8; ++i) {
      EXPECT_TRUE(builder->AddRow(static_cast<int>(i % 2), std::span(logits).subspan(8 * i, 8))
                      .ok());
    }
  }
  return (*builder->Build("expected"))->digest();
}

v1::GenerateRequest Traced(v1::GenerateRequest request) {
  request.mutable_trace()->set_logits(true);
  return request;
}

TEST_F(CalibrationTest, TextsGiveTheLogitsOfTheirTokensUnderTheModelsOwnRouting) {
  const std::vector<std::string> texts = {"the first text", "another", "x"};
  std::vector<v1::GenerateResponse> replies;
  uint64_t tokens = 0;
  for (const std::string& text : texts) {
    replies.push_back(Generate(Traced(TextRequest(text, 1))));
    tokens += replies.back().usage().prompt_tokens();
  }
  ASSERT_TRUE(Patch(TopKPatch(1)).ok()) << "the plan of the traffic does not matter";
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

TEST_F(CalibrationTest, ABuildThatIsCancelledAddsNothing) {
  server_.model().Hold();
  grpc::ClientContext context;
  grpc::Status status;
  std::thread call([&] {
    // Two steps: one that is running is not stopped.
    status = server_.admin().BuildCalibration(&context, FromTexts("c", {std::string(1000, 'a')}),
                                              &built_);
  });
  server_.model().AwaitStepBegun(1);
  context.TryCancel();
  call.join();
  // Calls on the same connection come after the cancellation: it has arrived by then.
  for (int i = 0; i < 20; ++i) List();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  server_.model().Unhold();
  server_.engine().Drain(absl::InfiniteFuture());
  EXPECT_THAT(Names(), IsEmpty());
}

TEST(CalibrationWithoutTokenizerTest, TextsAreRefused) {
  TestServer server({.tokenizer = false});
  grpc::ClientContext context;
  v1::BuildCalibrationResponse response;
  EXPECT_EQ(server.admin().BuildCalibration(&context, FromTexts("c", {"a"}), &response)
                .error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

// ---------------------------------------------------------------- from live tokens

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
  const v1::GenerateResponse untapped = Generate(Traced(TokenRequest({1, 2, 3}, 5)));  // 7 rows
  v1::BuildCalibrationRequest request = FromLive("c", 9);
  request.set_trim_top(1);
  Begin(request);
  EXPECT_EQ(Generate(TokenRequest({1, 2, 3}, 5)).token_ids().at(4), untapped.token_ids().at(4));
  const v1::GenerateResponse second = Generate(Traced(TokenRequest({4, 5}, 1)));  // 2 rows
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
  ASSERT_TRUE(Patch(patch).ok());
  v1::BuildCalibrationRequest request = FromLive("c", 2);
  request.mutable_live()->add_arm_ids("b");
  Begin(request);
  v1::GenerateRequest of_a = TokenRequest({1, 2, 3}, 5), of_b = Traced(TokenRequest({4, 5}, 1));
  of_a.mutable_routing()->set_arm_id("a");
  of_b.mutable_routing()->set_arm_id("b");
  Generate(of_a);
  const v1::GenerateResponse reply = Generate(of_b);
  ASSERT_TRUE(End().ok());
  EXPECT_EQ(built_.calibration().digest(), DigestByTraces({reply}, 0));
}

TEST_F(LiveTest, CancellationEndsIt) {
  Begin(FromLive("c", 100));
  Generate(TokenRequest({1, 2, 3}, 5));
  context_.TryCancel();
  EXPECT_EQ(End().error_code(), grpc::StatusCode::CANCELLED);
  AwaitTaps(0);
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(LiveTest, ItsDeadlineEndsIt) {
  context_.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  Begin(FromLive("c", 100));
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
  Generate(TokenRequest({1, 2, 3}, 3));
  for (std::thread& call : calls) call.join();
  EXPECT_THAT(Names(), ElementsAre("c0", "c1", "c2", "c3"));
}

}  // namespace
}  // namespace olmoe::rpc
