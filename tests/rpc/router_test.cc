// Routers put, read, listed, used and deleted, over a FakeModel of 2 layers, 8 experts and hidden
// size 1.
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/status_details.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Float32(const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// The value 0.1 does not fit bfloat16.
v1::PutRouterRequest Layer(uint32_t layer, float first = 0.1F) {
  v1::PutRouterRequest message;
  message.mutable_router_layer()->set_layer(layer);
  message.mutable_router_layer()->set_float32(Float32({first, 2, 3, 4, 5, 6, 7, 8}));
  return message;
}

std::vector<v1::PutRouterRequest> Upload(const std::string& id, float first = 0.1F) {
  std::vector<v1::PutRouterRequest> messages = {Layer(1, first)};
  messages[0].set_router_id(id);
  return messages;
}

v1::PatchRoutersRequest RouterPatch(const std::string& router) {
  v1::PatchRoutersRequest request;
  request.mutable_policy()->set_policy_id("own");
  request.mutable_policy()->set_router(router);
  return request;
}

class RouterTest : public ::testing::Test {
 protected:
  explicit RouterTest(TestServerOptions options = {}) : server_(std::move(options)) {}

  // The reply is in put_.
  grpc::Status Put(const std::vector<v1::PutRouterRequest>& messages) {
    grpc::ClientContext context;
    put_.Clear();
    const auto writer = server_.admin().PutRouter(&context, &put_);
    for (const v1::PutRouterRequest& message : messages) {
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }
  // The layers in get_.
  grpc::Status Get(const std::string& id) {
    grpc::ClientContext context;
    v1::GetRouterRequest request;
    request.set_router_id(id);
    get_.clear();
    const auto reader = server_.admin().GetRouter(&context, request);
    v1::GetRouterResponse message;
    while (reader->Read(&message)) get_.push_back(message.router_layer());
    return reader->Finish();
  }
  grpc::Status Delete(const std::string& id) {
    grpc::ClientContext context;
    v1::DeleteRouterRequest request;
    request.set_router_id(id);
    v1::DeleteRouterResponse response;
    return server_.admin().DeleteRouter(&context, request, &response);
  }
  std::vector<v1::RouterInfo> List() {
    grpc::ClientContext context;
    v1::ListRoutersResponse response;
    EXPECT_TRUE(server_.admin().ListRouters(&context, {}, &response).ok());
    return {response.routers().begin(), response.routers().end()};
  }
  grpc::Status Patch(const v1::PatchRoutersRequest& request) {
    grpc::ClientContext context;
    return server_.admin().PatchRouters(&context, request, &patched_);
  }

  TestServer server_;
  v1::PutRouterResponse put_;
  v1::PatchRoutersResponse patched_;
  std::vector<v1::RouterLayer> get_;
};

TEST_F(RouterTest, WhatIsPutCanBeListedReadAndUsed) {
  const grpc::Status missing = Patch(RouterPatch("r"));
  EXPECT_EQ(missing.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(missing.error_message(), HasSubstr("policy.router: router \"r\" does not exist"));
  ASSERT_TRUE(Put(Upload("r")).ok());
  EXPECT_EQ(put_.router().router_id(), "r");
  EXPECT_THAT(put_.router().layers(), ElementsAre(1u));
  EXPECT_EQ(put_.router().digest().size(), 64u);
  EXPECT_FALSE(put_.router().in_use());
  ASSERT_TRUE(Patch(RouterPatch("r")).ok());
  EXPECT_EQ(patched_.current().plan().arms(0).policy().router(), "r");
  ASSERT_EQ(List().size(), 1u);
  EXPECT_TRUE(List()[0].in_use());
  EXPECT_EQ(List()[0].digest(), put_.router().digest());
  ASSERT_TRUE(Get("r").ok());
  ASSERT_EQ(get_.size(), 1u);
  EXPECT_EQ(get_[0].layer(), 1u);
  EXPECT_EQ(get_[0].float32(), Layer(1).router_layer().float32());
  EXPECT_EQ(server_.Generate(TokenRequest({1, 2}, 8)).routing().policy_id(), "own");
}

TEST_F(RouterTest, RowsUseTheRouterOfTheirOwnPolicy) {
  ASSERT_TRUE(Put(Upload("a")).ok());
  ASSERT_TRUE(Put(Upload("same")).ok());
  ASSERT_TRUE(Put(Upload("b", 0.3F)).ok());
  std::vector<std::string> tokens;
  for (const char* router : {"", "a", "same", "b"}) {
    ASSERT_TRUE(Patch(RouterPatch(router)).ok());
    std::string ids;
    const v1::GenerateResponse reply = server_.Generate(TokenRequest({1, 2}, 32));
    for (const uint32_t id : reply.token_ids()) ids += std::to_string(id) + " ";
    tokens.push_back(ids);
  }
  EXPECT_NE(tokens[0], tokens[1]);
  EXPECT_EQ(tokens[1], tokens[2]);
  EXPECT_NE(tokens[1], tokens[3]);
}

TEST_F(RouterTest, TheModelsOwnIsThereUnderNoName) {
  ASSERT_TRUE(Get("").ok());
  ASSERT_EQ(get_.size(), 2u);
  EXPECT_EQ(get_[1].layer(), 1u);
  EXPECT_EQ(get_[1].bfloat16().size(), 16u) << "whole numbers fit";
  std::vector<v1::PutRouterRequest> messages(2);
  messages[0].set_router_id("copy");
  // In any order.
  *messages[0].mutable_router_layer() = get_[1];
  *messages[1].mutable_router_layer() = get_[0];
  ASSERT_TRUE(Put(messages).ok());
  EXPECT_THAT(put_.router().layers(), ElementsAre(0u, 1u));
  const std::vector<v1::RouterLayer> own = get_;
  ASSERT_TRUE(Get("copy").ok());
  ASSERT_EQ(get_.size(), 2u);
  EXPECT_EQ(get_[0].SerializeAsString(), own[0].SerializeAsString());
}

TEST_F(RouterTest, ANameMeansOneContentForEverInEitherType) {
  ASSERT_TRUE(Put(Upload("r", 1)).ok());
  EXPECT_TRUE(Put(Upload("r", 1)).ok());
  const std::string digest = put_.router().digest();
  ASSERT_TRUE(Get("r").ok());
  std::vector<v1::PutRouterRequest> narrow(1);
  narrow[0].set_router_id("r");
  *narrow[0].mutable_router_layer() = get_[0];
  ASSERT_TRUE(get_[0].has_bfloat16());
  EXPECT_TRUE(Put(narrow).ok()) << "the same values";
  EXPECT_EQ(put_.router().digest(), digest);
  const grpc::Status other = Put(Upload("r", 0.5F));
  EXPECT_EQ(other.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_THAT(other.error_message(), HasSubstr("exists with other weights"));
}

TEST_F(RouterTest, EveryBadFieldOfAnUploadIsNamedAndNothingIsAdded) {
  std::vector<v1::PutRouterRequest> messages = {Layer(0), Layer(2), Layer(0), {}, {}, Layer(1)};
  messages[0].set_router_id("No Name");
  messages[2].set_router_id("other");
  messages[2].mutable_router_layer()->mutable_float32()->pop_back();
  messages[4].mutable_router_layer()->set_layer(1);
  messages[5].mutable_router_layer()->set_bfloat16(std::string(14, '\0'));
  messages.push_back(Layer(7, std::numeric_limits<float>::quiet_NaN()));
  const grpc::Status status = Put(messages);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(ViolatedFields(status),
              ElementsAre("messages[0].router_id", "messages[1].router_layer.layer",
                          "messages[2].router_id", "messages[2].router_layer.layer",
                          "messages[2].router_layer.float32", "messages[3].router_layer",
                          "messages[4].router_layer.weight", "messages[5].router_layer.layer",
                          "messages[5].router_layer.bfloat16", "messages[6].router_layer.layer",
                          "messages[6].router_layer.float32"));
  EXPECT_THAT(status.error_message(),
              HasSubstr("must have 8 x 1 x 4 = 32 bytes for layer 0, has 31"));
  EXPECT_THAT(List(), IsEmpty());
  const grpc::Status not_finite = Put(Upload("r", std::numeric_limits<float>::quiet_NaN()));
  EXPECT_THAT(not_finite.error_message(),
              HasSubstr("must be finite, is nan in layer 1 at expert 0, input 0"));
}

TEST_F(RouterTest, AnUploadWithoutALayerAddsNothing) {
  std::vector<v1::PutRouterRequest> messages(1);
  messages[0].set_router_id("r");
  EXPECT_THAT(ViolatedFields(Put(messages)), ElementsAre("router_layer"));
  EXPECT_THAT(ViolatedFields(Put({})), ElementsAre("router_id"));
  EXPECT_THAT(List(), IsEmpty());
}

TEST_F(RouterTest, AnEndlessBadUploadIsEndedByTheServer) {
  std::vector<v1::PutRouterRequest> messages = Upload("r");
  messages.resize(100'000, Layer(1));
  EXPECT_EQ(Put(messages).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(List(), IsEmpty());
}

TEST_F(RouterTest, NamesThatAreNotThereOrNoNames) {
  EXPECT_EQ(Get("r").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Delete("r").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(ViolatedFields(Get("../r")), ElementsAre("router_id"));
  EXPECT_THAT(ViolatedFields(Delete("")), ElementsAre("router_id"));
  EXPECT_THAT(ViolatedFields(Patch(RouterPatch("a b"))), ElementsAre("policy.router"));
}

TEST_F(RouterTest, OneInUseCannotBeDeleted) {
  ASSERT_TRUE(Put(Upload("r")).ok());
  ASSERT_TRUE(Patch(RouterPatch("r")).ok());
  v1::PatchRoutersRequest passing = TopKPatch(1);
  passing.mutable_ttl()->set_seconds(3600);
  ASSERT_TRUE(Patch(passing).ok());
  const grpc::Status status = Delete("r");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("router \"r\" is in use")) << "it comes back";
  ASSERT_TRUE(Patch(RouterPatch("r")).ok());
  server_.model().Hold();
  const int begun = server_.model().counters().steps;
  std::thread call([&] { server_.Generate(TokenRequest({1}, 3)); });
  server_.model().AwaitStepBegun(begun + 1);
  server_.Unpatch();
  EXPECT_EQ(Delete("r").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(List()[0].in_use());
  server_.model().Unhold();
  call.join();
  EXPECT_TRUE(Delete("r").ok());
  EXPECT_EQ(Patch(RouterPatch("r")).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

class InlineRouterTest : public RouterTest {
 protected:
  InlineRouterTest()
      : RouterTest(
            {.tune = [](Contexts* contexts) { contexts->serving.allow_inline_policy = true; }}) {}
};

TEST_F(InlineRouterTest, AnInlinePolicyMayNameOne) {
  v1::GenerateRequest request = TokenRequest({1, 2}, 4);
  *request.mutable_routing()->mutable_policy() = RouterPatch("r").policy();
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const grpc::Status status = server_.inference().Generate(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("routing.policy.router"));
  ASSERT_TRUE(Put(Upload("r")).ok());
  EXPECT_EQ(server_.Generate(request).routing().policy_id(), "own");
}

class RouterHookTest : public RouterTest {
 protected:
  RouterHookTest() : RouterTest(Options()) {}
  static TestServerOptions Options() {
    TestServerOptions options;
    options.router_hooks.before_add = [](const routing::Router& router) {
      return router.name() == "full" ? absl::ResourceExhaustedError("disk full") : absl::OkStatus();
    };
    return options;
  }
};

TEST_F(RouterHookTest, WhatCannotBeStoredIsNotAdded) {
  EXPECT_EQ(Put(Upload("full")).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Put(Upload("kept")).ok());
  EXPECT_EQ(List().size(), 1u);
}

// The one worker is held until the server knows of the cancellation: what ends before that is as an
// upload that ended.
class SlowRouterTest : public RouterTest {
 protected:
  SlowRouterTest()
      : RouterTest({.router_hooks = {.before_add =
                                         [this](const routing::Router& router) {
                                           if (router.name() == "slow") Hold();
                                           return absl::OkStatus();
                                         },
                                     .before_remove = {}}}) {}
  void Hold() {
    held_.Notify();
    go_on_.WaitForNotification();
  }
  absl::Notification held_, go_on_;
};

TEST_F(SlowRouterTest, AnUploadThatIsCancelledAddsNothing) {
  std::thread slow([this] {
    grpc::ClientContext context;
    v1::PutRouterResponse response;
    const auto writer = server_.admin().PutRouter(&context, &response);
    writer->Write(Upload("slow")[0]);
    writer->WritesDone();
    EXPECT_TRUE(writer->Finish().ok());
  });
  held_.WaitForNotification();
  grpc::ClientContext context;
  v1::PutRouterResponse response;
  const auto writer = server_.admin().PutRouter(&context, &response);
  ASSERT_TRUE(writer->Write(Upload("r")[0]));
  context.TryCancel();
  EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  // Behind it on the same connection.
  for (int i = 0; i < 200; ++i) List();
  go_on_.Notify();
  slow.join();
  ASSERT_TRUE(Put(Upload("last")).ok()) << "behind it on the same worker";
  std::vector<std::string> names;
  for (const v1::RouterInfo& info : List()) names.push_back(info.router_id());
  EXPECT_THAT(names, ElementsAre("last", "slow"));
}

}  // namespace
}  // namespace olmoe::rpc
