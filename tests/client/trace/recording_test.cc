#include "client/trace/recording.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "olmoe/v1/inference.pb.h"
#include "tests/client/trace/small_recording.h"
#include "tests/support/temp_folder.h"

namespace olmoe::client::trace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Recording, ReadsBackWhatWasWritten) {
  testing::TempFolder folder;
  const std::string path = folder.path() + "/trace.safetensors";
  const Recording written = SmallRecording();
  ASSERT_TRUE(written.Write(path).ok());
  const auto read = Recording::Read(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->shape, written.shape);
  EXPECT_EQ(read->metadata, written.metadata);
  EXPECT_THAT(read->tokens, ElementsAre(70, 71));
  EXPECT_THAT(read->positions, ElementsAre(4, 5));
  EXPECT_THAT(read->items, ElementsAre(6, 6));
  EXPECT_THAT(read->offsets, ElementsAre(0, 1, 3, 4, 5));
  EXPECT_EQ(read->counts, written.counts);
  EXPECT_EQ(read->experts, written.experts);
  EXPECT_EQ(read->weights, written.weights);
  EXPECT_EQ(read->logits, written.logits);
  EXPECT_THAT(read->ExpertsOf(1), ElementsAre(2, 1));
}

TEST(Recording, AnEmptyOneIsAFileToo) {
  testing::TempFolder folder;
  Recording recording;
  recording.shape = SmallRecording().shape;
  recording.metadata = SmallRecording().metadata;
  const std::string path = folder.path() + "/trace.safetensors";
  ASSERT_TRUE(recording.Write(path).ok());
  const auto read = Recording::Read(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->num_rows(), 0u);
}

TEST(Recording, ATraceThatIsNotWholeIsRefused) {
  Recording recording = SmallRecording();
  v1::RoutingTrace trace;
  trace.set_num_positions(1);
  trace.set_num_layers(2);
  trace.set_counts(std::string("\1\1", 2));
  trace.set_experts(std::string("\0\0", 2));
  const std::vector<int32_t> tokens = {1};
  EXPECT_EQ(recording.Append(trace, 0, tokens).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(recording.num_rows(), 2u);
}

TEST(Recording, FilesThatAreNoneAreRefusedByName) {
  testing::TempFolder folder;
  const std::string path = folder.path() + "/trace.safetensors";
  EXPECT_THAT(std::string(Recording::Read(path).status().message()), HasSubstr(path));
  const auto refused = [&path](const Recording& recording) {
    EXPECT_TRUE(recording.Write(path).ok());
    return std::string(Recording::Read(path).status().message());
  };
  Recording recording = SmallRecording();
  recording.offsets[1] = 2;
  EXPECT_THAT(refused(recording), HasSubstr("offsets[1] is not what counts say"));
  recording = SmallRecording();
  recording.experts.push_back(0);
  recording.weights.push_back(0);
  EXPECT_THAT(refused(recording), HasSubstr("offsets do not end with the experts"));
  recording = SmallRecording();
  recording.offsets.pop_back();
  EXPECT_THAT(refused(recording), HasSubstr("the same number of rows"));
  recording = SmallRecording();
  recording.metadata["format"] = "another";
  EXPECT_THAT(refused(recording), HasSubstr("is not a routing trace"));
  recording = SmallRecording();
  recording.metadata["default_top_k"] = "4";
  EXPECT_THAT(refused(recording), HasSubstr("default_top_k"));
}

TEST(Recording, AnUnwritableFileIsAnErrorThatNamesIt) {
  const std::string path = "/no/such/folder/trace.safetensors";
  EXPECT_THAT(std::string(SmallRecording().Write(path).message()), HasSubstr(path));
}

}  // namespace
}  // namespace olmoe::client::trace
