// --replay of generate and score, and `olmoectl trace`.
#include <string>

#include "client/trace/trace_file.h"
#include "gmock/gmock.h"
#include "tests/client/app_fixture.h"
#include "tests/client/trace/small_recording.h"
#include "tests/support/temp_folder.h"

namespace olmoe::client {
namespace {

using commands::ExitCode;
using ::testing::HasSubstr;

class ReplayAppTest : public AppFixture {
 protected:
  ReplayAppTest() { EXPECT_TRUE(trace::SmallRecording().Write(recording_).ok()); }

  testing::TempFolder folder_;
  const std::string recording_ = folder_.path() + "/a.safetensors";
  const std::string array_ = folder_.path() + "/a.npy";
};

TEST_F(ReplayAppTest, TheFileIsSentWithoutWhatIsNotLookedAt) {
  ASSERT_EQ(Run({"generate", "x", "--replay", recording_}), ExitCode::kOk) << err_.str();
  const v1::Replay& live = server_.generate_request.routing().replay();
  EXPECT_EQ(live.weights(), v1::REPLAY_WEIGHTS_LIVE);
  EXPECT_EQ(live.trace().num_positions(), 2u);
  EXPECT_EQ(live.trace().experts().size(), 5u);
  EXPECT_EQ(live.trace().weights(), "");
  EXPECT_FALSE(live.has_otherwise());

  ASSERT_EQ(Run({"score", "--continuation", "x", "--replay", recording_, "--replay-weights",
                 "recorded", "--policy", "top-k=4"}),
            ExitCode::kOk)
      << err_.str();
  const v1::Replay& recorded = server_.score_request.routing().replay();
  EXPECT_EQ(recorded.weights(), v1::REPLAY_WEIGHTS_RECORDED);
  EXPECT_EQ(recorded.trace().weights().size(), 5 * sizeof(float));
  EXPECT_EQ(recorded.otherwise().apply().top_k().k(), 4u);
}

TEST_F(ReplayAppTest, WhatCannotBeReplayedIsUsage) {
  EXPECT_EQ(Run({"generate", "x", "--replay", folder_.path() + "/none"}), ExitCode::kUsage);
  EXPECT_EQ(Run({"generate", "x", "--replay", recording_, "--arm", "a"}), ExitCode::kUsage);
  EXPECT_EQ(Run({"generate", "x", "--replay-weights", "live"}), ExitCode::kUsage);
  EXPECT_EQ(Run({"generate", "x", "--replay", recording_, "--replay-weights", "LIFE"}),
            ExitCode::kUsage);
  EXPECT_EQ(Run({"generate", "x", "--replay", recording_, "--policy", "top-q=4"}),
            ExitCode::kUsage);
  v1::RoutingTrace trace;
  trace.set_num_positions(1);
  trace.set_num_layers(2);
  trace.set_counts("\1\1");
  trace.set_experts("\1\1");
  ASSERT_TRUE(trace::WriteTrace(trace, array_).ok());
  EXPECT_EQ(Run({"generate", "x", "--replay", array_, "--replay-weights", "recorded"}),
            ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("a.npy: has no weights"));
  EXPECT_EQ(Run({"generate", "x", "--replay", array_}), ExitCode::kOk) << err_.str();
}

TEST_F(ReplayAppTest, ARefusedReplayTellsWhichFlagHelps) {
  server_.failure = absl::PermissionDeniedError("no");
  EXPECT_EQ(Run({"score", "--continuation", "x", "--replay", recording_}), ExitCode::kNotAllowed);
  EXPECT_THAT(err_.str(), HasSubstr("--replay is sent with the request"));
}

TEST_F(ReplayAppTest, TraceConvertGoesToTheArrayOfVllmAndBack) {
  v1::RoutingTrace trace;
  trace.set_num_positions(3);
  trace.set_num_layers(2);
  trace.set_counts("\2\2\2\2\2\2");
  trace.set_experts("\1\2\3\4\5\6\7\10\1\2\3\4");
  const std::string json = folder_.path() + "/a.json", back = folder_.path() + "/back.json";
  ASSERT_TRUE(trace::WriteTrace(trace, json).ok());
  ASSERT_EQ(Run({"trace", "convert", json, array_}), ExitCode::kOk) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("3 positions, 2 layers, 12 experts"));
  ASSERT_EQ(Run({"trace", "convert", array_, back}), ExitCode::kOk) << err_.str();
  EXPECT_EQ(trace::ReadTrace(back)->SerializeAsString(), trace.SerializeAsString());

  EXPECT_EQ(Run({"trace", "convert", recording_, array_}), ExitCode::kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("begins at position 4"));
  EXPECT_EQ(Run({"trace", "convert", recording_, back}), ExitCode::kOk) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("with weights"));
  EXPECT_EQ(Run({"trace", "convert", recording_, folder_.path() + "/x.safetensors"}),
            ExitCode::kUsage);
}

}  // namespace
}  // namespace olmoe::client
