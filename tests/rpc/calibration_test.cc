// Calibrations put, read, listed, used and deleted.
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/routing/memory_plan_store.h"
#include "tests/routing/policies.h"
#include "tests/rpc/calibration_fixture.h"
#include "tests/rpc/status_details.h"

namespace olmoe::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

TEST_F(CalibrationTest, WhatIsPutCanBeListedReadAndUsed) {
  EXPECT_EQ(server_.Patch(BhPatch("c")).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(Put(Upload("c", {0, 0.5, 1})).ok());
  EXPECT_EQ(put_.calibration().calibration_id(), "c");
  EXPECT_EQ(put_.calibration().num_layers(), 2u);
  EXPECT_EQ(put_.calibration().digest().size(), 64u);
  EXPECT_FALSE(put_.calibration().in_use());
  ASSERT_TRUE(server_.Patch(BhPatch("c")).ok());
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
  ASSERT_TRUE(server_.Patch(request).ok());
  const grpc::Status status = Delete("c");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("in use"));
  EXPECT_TRUE(Delete("d").ok());
  server_.Unpatch();
  EXPECT_TRUE(Delete("c").ok());
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_EQ(server_.Patch(request).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(CalibrationTest, OneThatAnOldPlansRequestStillNeedsCannotBeDeleted) {
  ASSERT_TRUE(Put(Upload("c", {0, 0.5, 1})).ok());
  ASSERT_TRUE(server_.Patch(BhPatch("c")).ok());
  server_.model().Hold();
  std::thread call([&] { server_.Generate(TokenRequest({1}, 3)); });
  server_.model().AwaitStepBegun(1);
  server_.Unpatch();
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
    ASSERT_TRUE(server_.Patch(BhPatch(id)).ok());
    digests.push_back(server_.Generate(TokenRequest({1, 2}, 1)).routing().policy_digest());
  }
  EXPECT_EQ(digests[0], digests[1]);
  EXPECT_NE(digests[0], digests[2]);
  EXPECT_NE(digests[0], digests[3]);
  // A name that is free again may mean something else: replies say so.
  server_.Unpatch();
  ASSERT_TRUE(Delete("c").ok());
  ASSERT_TRUE(Put(Upload("c", {0, 0.25, 1})).ok());
  ASSERT_TRUE(server_.Patch(BhPatch("c")).ok());
  EXPECT_EQ(server_.Generate(TokenRequest({1, 2}, 1)).routing().policy_digest(), digests[2]);
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

}  // namespace
}  // namespace olmoe::rpc
