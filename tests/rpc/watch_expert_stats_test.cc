// WatchExpertStats over a FakeModel and a real engine.
#include <grpcpp/client_context.h>

#include <memory>
#include <string>

#include "google/protobuf/util/time_util.h"
#include "gtest/gtest.h"
#include "tests/rpc/expert_stats_fixture.h"
#include "tests/rpc/status_details.h"

namespace olmoe::rpc {
namespace {

using ::google::protobuf::util::TimeUtil;

class WatchTest : public ExpertStatsTest {
 protected:
  using Reader = std::unique_ptr<grpc::ClientReader<v1::WatchExpertStatsResponse>>;

  Reader Watch(const std::string& since_cursor = "") {
    v1::WatchExpertStatsRequest request;
    request.mutable_filter()->set_since_cursor(since_cursor);
    request.mutable_interval()->set_nanos(100'000'000);
    return server_.admin().WatchExpertStats(&context_, request);
  }
  static v1::GetExpertStatsResponse Next(const Reader& reader) {
    v1::WatchExpertStatsResponse message;
    EXPECT_TRUE(reader->Read(&message));
    return message.delta();
  }

  grpc::ClientContext context_;
};

TEST_F(WatchTest, MessagesTogetherAreWhatWasCounted) {
  server_.Generate(TokenRequest({1, 2, 3}, 1));
  const Reader reader = Watch();
  Totals sum;
  v1::GetExpertStatsResponse message = Next(reader);
  ASSERT_EQ(message.arms_size(), 1) << "the first message has all that was before";
  AddTo(message, &sum);
  for (int i = 0; i < 3; ++i) {
    server_.Generate(TokenRequest({1, 2}, 3));
    const v1::GetExpertStatsResponse next = Next(reader);
    EXPECT_EQ(TimeUtil::TimestampToNanoseconds(next.start_time()),
              TimeUtil::TimestampToNanoseconds(message.end_time()));
    message = next;
    AddTo(message, &sum);
  }
  // Whoever's stream ends goes on with the cursor of its last message.
  context_.TryCancel();
  AddTo(Since(message.cursor()), &sum);
  Totals totals;
  AddTo(Get(), &totals);
  EXPECT_EQ(sum, totals);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(WatchTest, ItMayBeginAtACursor) {
  server_.Generate(TokenRequest({1, 2, 3}, 1));
  const Reader reader = Watch(Get().cursor());
  EXPECT_EQ(Next(reader).arms_size(), 0);
  context_.TryCancel();
  EXPECT_FALSE(reader->Finish().ok());
}

TEST_F(WatchTest, DrainEndsItAndRefusesNewOnes) {
  const Reader reader = Watch();
  Next(reader);
  grpc::ClientContext drain;
  v1::DrainResponse drained;
  ASSERT_TRUE(server_.admin().Drain(&drain, {}, &drained).ok());
  v1::WatchExpertStatsResponse message;
  while (reader->Read(&message)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  grpc::ClientContext late;
  EXPECT_EQ(server_.admin().WatchExpertStats(&late, {})->Finish().error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(WatchTest, ShutdownEndsIt) {
  const Reader reader = Watch();
  Next(reader);
  server_.admin_server().Shutdown(absl::Now());
  EXPECT_FALSE(reader->Finish().ok());
}

TEST(WatchLimitTest, OneTooManyIsToldToComeBack) {
  TestServer server({.max_watches = 1});
  grpc::ClientContext first, second, third;
  const auto reader = server.admin().WatchExpertStats(&first, {});
  v1::WatchExpertStatsResponse message;
  ASSERT_TRUE(reader->Read(&message));
  const grpc::Status refused = server.admin().WatchExpertStats(&second, {})->Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(HasRetryInfo(refused));
  first.TryCancel();
  reader->Finish();
  // The server learns of it a little later than the client.
  while (true) {
    grpc::ClientContext next;
    const auto again = server.admin().WatchExpertStats(&next, {});
    const bool accepted = again->Read(&message);
    next.TryCancel();
    again->Finish();
    if (accepted) break;
  }
}

}  // namespace
}  // namespace olmoe::rpc
