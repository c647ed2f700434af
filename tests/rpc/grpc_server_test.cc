#include "server/rpc/grpc_server.h"

#include <grpcpp/client_context.h>
#include <grpcpp/impl/service_type.h>

#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/rpc/inference_calls.h"
#include "tests/rpc/generic_call.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {
namespace {

using ::testing::HasSubstr;

// grpc.health.v1.HealthCheckRequest{service = 1} and HealthCheckResponse{status = 1}.
std::string HealthRequest(const std::string& service) {
  return service.empty() ? "" : absl::StrCat("\x0A", std::string(1, char(service.size())), service);
}
const std::string kServing = "\x08\x01";
const std::string kNotServing = "\x08\x02";

constexpr char kCheck[] = "/grpc.health.v1.Health/Check";
constexpr char kWatch[] = "/grpc.health.v1.Health/Watch";
constexpr char kService[] = "olmoe.v1.InferenceService";

TEST(GrpcServerTest, HealthTellsLivenessAndReadinessApart) {
  TestServer server;
  EXPECT_EQ(CallUnary(server.NewChannel(), kCheck, HealthRequest("")).bytes, kServing);
  EXPECT_EQ(CallUnary(server.NewChannel(), kCheck, HealthRequest(kService)).bytes, kServing);
  EXPECT_EQ(
      CallUnary(server.NewAdminChannel(), kCheck, HealthRequest("olmoe.v1.RoutingAdminService"))
          .bytes,
      kServing);
  server.inference_server().SetServing(false);
  EXPECT_EQ(CallUnary(server.NewChannel(), kCheck, HealthRequest("")).bytes, kServing);
  EXPECT_EQ(CallUnary(server.NewChannel(), kCheck, HealthRequest(kService)).bytes, kNotServing);
  EXPECT_EQ(CallUnary(server.NewChannel(), kCheck, HealthRequest("other")).status.error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST(GrpcServerTest, HealthWatchesFollowAndEndAtShutdown) {
  TestServer server;
  GenericStream watch(server.NewChannel(), kWatch);
  ASSERT_TRUE(watch.Write(HealthRequest(kService)));
  watch.WritesDone();
  std::string bytes;
  ASSERT_TRUE(watch.Read(&bytes));
  EXPECT_EQ(bytes, kServing);
  server.inference_server().SetServing(false);
  ASSERT_TRUE(watch.Read(&bytes));
  EXPECT_EQ(bytes, kNotServing);
  // Returns although the watch is open.
  server.inference_server().Shutdown(absl::Now());
  EXPECT_FALSE(watch.Read(&bytes));
  EXPECT_FALSE(watch.Finish().ok());
}

TEST(GrpcServerTest, ReflectionListsTheServices) {
  TestServer server;
  for (const auto& [channel, name] :
       {std::make_pair(server.NewChannel(), "olmoe.v1.InferenceService"),
        std::make_pair(server.NewAdminChannel(), "olmoe.v1.RoutingAdminService")}) {
    GenericStream stream(channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
    ASSERT_TRUE(stream.Write("\x3A\x01*"));  // list_services = 7
    std::string bytes;
    ASSERT_TRUE(stream.Read(&bytes));
    EXPECT_THAT(bytes, HasSubstr(name));
    // file_containing_symbol = 4
    ASSERT_TRUE(stream.Write(absl::StrCat("\x22", std::string(1, char(strlen(name))), name)));
    ASSERT_TRUE(stream.Read(&bytes));
    EXPECT_THAT(bytes, HasSubstr("RoutingStamp"));
    stream.WritesDone();
    EXPECT_TRUE(stream.Finish().ok());
  }
}

TEST(GrpcServerTest, ShutdownWaitsForOpenCallsUpToTheDeadline) {
  TestServer server;
  grpc::ClientContext context;
  const auto reader = server.inference().GenerateStream(&context, TokenRequest({1}, 200));
  v1::GenerateStreamResponse message;
  ASSERT_TRUE(reader->Read(&message));
  server.inference_server().Shutdown(absl::InfiniteFuture());
  while (reader->Read(&message)) {
  }
  EXPECT_TRUE(message.has_done());
  EXPECT_TRUE(reader->Finish().ok());
}

TEST(GrpcServerTest, MetadataBeyondTheLimitIsRefused) {
  TestServer server;
  grpc::ClientContext context;
  context.AddMetadata("x-large", std::string(64 << 10, 'x'));
  v1::GetModelInfoResponse response;
  EXPECT_EQ(server.inference().GetModelInfo(&context, {}, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  // gRPC 1.51 may end the connection over it, so the next call may have to try again.
  bool served = false;
  for (int attempt = 0; attempt < 10 && !served; ++attempt) {
    grpc::ClientContext small;
    small.set_wait_for_ready(true);
    served = server.inference().GetModelInfo(&small, {}, &response).ok();
  }
  EXPECT_TRUE(served);
}

}  // namespace
}  // namespace olmoe::rpc
