#include <grpcpp/client_context.h>

#include <memory>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

// One client that watches.
class Watcher {
 public:
  explicit Watcher(v1::RoutingAdminService::Stub& admin)
      : reader_(admin.WatchRouting(&context_, {})) {}
  ~Watcher() {
    if (reader_ == nullptr) return;
    context_.TryCancel();
    End();
  }

  // The next message; one without an event at the end.
  v1::WatchRoutingResponse Next() {
    v1::WatchRoutingResponse message;
    if (!reader_->Read(&message)) message.Clear();
    return message;
  }
  grpc::Status End() {
    while (Next().event_case() != v1::WatchRoutingResponse::EVENT_NOT_SET) {
    }
    const grpc::Status status = reader_->Finish();
    reader_.reset();
    return status;
  }
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchRoutingResponse>> reader_;
};

class WatchRoutingTest : public ::testing::Test {
 protected:
  uint64_t Patch(uint32_t k, int64_t ttl_seconds = 0) {
    grpc::ClientContext context;
    v1::PatchRoutersResponse response;
    v1::PatchRoutersRequest request = TopKPatch(k);
    if (ttl_seconds > 0) request.mutable_ttl()->set_seconds(ttl_seconds);
    EXPECT_TRUE(server_.admin().PatchRouters(&context, request, &response).ok());
    return response.current().generation();
  }

  TestServer server_;
};

TEST_F(WatchRoutingTest, TheFirstMessageIsTheCurrentPlanThenEachChangeAndDrain) {
  Watcher watcher(server_.admin());
  const v1::WatchRoutingResponse first = watcher.Next();
  EXPECT_EQ(first.current().generation(), 1u);
  EXPECT_EQ(first.current().source(), "startup");
  Patch(2);
  const v1::WatchRoutingResponse second = watcher.Next();
  EXPECT_EQ(second.current().generation(), 2u);
  EXPECT_EQ(second.current().plan().arms(0).policy().policy_id(), "top-2");
  EXPECT_EQ(watcher.Next().drained_generation(), 1u);
}

TEST_F(WatchRoutingTest, AGenerationDrainsWithItsLastRequest) {
  server_.model().Hold();
  std::thread call([&] {
    grpc::ClientContext context;
    v1::GenerateResponse response;
    EXPECT_TRUE(server_.inference().Generate(&context, TokenRequest({1}, 3), &response).ok());
  });
  server_.model().AwaitStepBegun(1);
  Patch(2);
  Watcher watcher(server_.admin());
  EXPECT_EQ(watcher.Next().current().generation(), 2u);
  EXPECT_EQ(server_.controller().slot().InFlight(1), 1);
  server_.model().Unhold();
  EXPECT_EQ(watcher.Next().drained_generation(), 1u);
  call.join();
}

TEST_F(WatchRoutingTest, ARenewalIsToldToo) {
  Patch(2, /*ttl_seconds=*/600);
  Watcher watcher(server_.admin());
  const int64_t end = watcher.Next().current().expire_time().seconds();
  ASSERT_TRUE(server_.controller().Renew(2, absl::Hours(1)).ok());
  const v1::PlanRecord renewed = watcher.Next().current();
  EXPECT_EQ(renewed.generation(), 2u);
  EXPECT_GT(renewed.expire_time().seconds(), end);
}

TEST_F(WatchRoutingTest, ItEndsWhenTheServerDrains) {
  Watcher watcher(server_.admin());
  watcher.Next();
  grpc::ClientContext context;
  v1::DrainResponse drained;
  ASSERT_TRUE(server_.admin().Drain(&context, {}, &drained).ok());
  EXPECT_EQ(watcher.End().error_code(), grpc::StatusCode::UNAVAILABLE);
  Watcher late(server_.admin());
  EXPECT_EQ(late.End().error_code(), grpc::StatusCode::UNAVAILABLE);
}

// A reader that does not read costs one message, however often the plan changes.
TEST_F(WatchRoutingTest, ASlowReaderIsToldOfTheNewestPlan) {
  constexpr uint64_t kPatches = 3000;
  Watcher watcher(server_.admin());
  EXPECT_EQ(watcher.Next().current().generation(), 1u);
  for (uint64_t i = 0; i < kPatches; ++i) {
    // Large: so few of them fill the window of the connection.
    routing::PlanSpec plan;
    plan.note = std::string(256, 'n');
    for (int arm = 0; arm < 8; ++arm) {
      routing::ArmSpec& added = plan.arms.emplace_back();
      added.arm_id = absl::StrCat("arm-", arm);
      added.policy.policy_id = absl::StrCat("p-", i);
      added.policy.description = std::string(256, 'd');
      added.weight = 1;
    }
    ASSERT_TRUE(server_.controller().Patch(plan, {})->changed);
  }
  uint64_t newest = 1;
  uint64_t messages = 0;
  while (newest < kPatches + 1) {
    const v1::WatchRoutingResponse message = watcher.Next();
    ASSERT_NE(message.event_case(), v1::WatchRoutingResponse::EVENT_NOT_SET);
    if (!message.has_current()) continue;
    EXPECT_GT(message.current().generation(), newest);
    newest = message.current().generation();
    ++messages;
  }
  EXPECT_LT(messages, kPatches);
}

TEST_F(WatchRoutingTest, WatchersComeAndGoWhilePlansChange) {
  std::atomic<bool> done = false;
  std::thread patches([&] {
    for (uint32_t i = 0; !done; ++i) Patch(1 + i % 8);
  });
  std::vector<std::thread> clients;
  for (int client = 0; client < 4; ++client) {
    clients.emplace_back([this, client] {
      for (int round = 0; round < 25; ++round) {
        Watcher watcher(server_.admin());
        uint64_t newest = 0;
        for (int message = 0; message < (client + round) % 5; ++message) {
          const v1::WatchRoutingResponse next = watcher.Next();
          if (!next.has_current()) continue;
          EXPECT_GT(next.current().generation(), newest);
          newest = next.current().generation();
        }
        if (round % 2 == 0) watcher.Cancel();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  done = true;
  patches.join();
}

}  // namespace
}  // namespace olmoe::rpc
