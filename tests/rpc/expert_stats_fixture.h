// What the tests of the expert statistics' calls share.
#ifndef OLMOE_TESTS_RPC_EXPERT_STATS_FIXTURE_H_
#define OLMOE_TESTS_RPC_EXPERT_STATS_FIXTURE_H_

#include <grpcpp/client_context.h>

#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/rpc/test_server.h"

namespace olmoe::rpc {

class ExpertStatsTest : public ::testing::Test {
 protected:
  grpc::Status Get(const v1::GetExpertStatsRequest& request, v1::GetExpertStatsResponse* response) {
    grpc::ClientContext context;
    return server_.admin().GetExpertStats(&context, request, response);
  }
  v1::GetExpertStatsResponse Get(const v1::GetExpertStatsRequest& request = {}) {
    v1::GetExpertStatsResponse response;
    const grpc::Status status = Get(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  v1::GetExpertStatsResponse Since(const std::string& cursor) {
    v1::GetExpertStatsRequest request;
    request.set_since_cursor(cursor);
    return Get(request);
  }
  void Patch(const v1::PatchRoutersRequest& request) {
    grpc::ClientContext context;
    v1::PatchRoutersResponse response;
    const grpc::Status status = server_.admin().PatchRouters(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  TestServer server_;
};

// Selections per "arm/kind/layer/expert", and tokens per "arm/kind".
using Totals = std::map<std::string, uint64_t>;
inline void AddTo(const v1::GetExpertStatsResponse& response, Totals* totals) {
  for (const v1::ArmExpertStats& arm : response.arms()) {
    const std::string name = absl::StrCat(arm.arm_id(), "/", static_cast<int>(arm.kind()));
    for (const v1::LayerExpertStats& layer : arm.layers()) {
      for (int e = 0; e < layer.expert_tokens_size(); ++e) {
        (*totals)[absl::StrCat(name, "/", layer.layer(), "/", e)] += layer.expert_tokens(e);
      }
    }
    (*totals)[name] += arm.layers(0).tokens();
  }
}

}  // namespace olmoe::rpc

#endif  // OLMOE_TESTS_RPC_EXPERT_STATS_FIXTURE_H_
