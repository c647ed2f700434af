#include "client/trace/trace_file.h"

#include <fstream>
#include <string>
#include <vector>

#include "client/trace/npy.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/trace/small_recording.h"
#include "tests/support/temp_folder.h"

namespace olmoe::client::trace {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// A NumPy file as numpy.save writes it, but for the padding.
std::string Npy(const std::string& dictionary, const std::string& data, char version = 1) {
  std::string bytes = std::string("\x93NUMPY", 6) + version + '\0';
  bytes += {static_cast<char>(dictionary.size()), '\0'};
  if (version > 1) bytes += {'\0', '\0'};
  return bytes + dictionary + data;
}

std::string Dictionary(const std::string& descr, const std::string& shape,
                       const std::string& order = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
}

// Two positions of one layer with two experts each: 3 1, 0 2.
std::string Ids(size_t bytes) {
  std::string data;
  for (const char id : {'\3', '\1', '\0', '\2'}) data += id + std::string(bytes - 1, '\0');
  return data;
}

std::string Refusal(const std::string& bytes) {
  return std::string(TraceOfNpy(bytes).status().message());
}

TEST(Npy, TypesAndVersionsThatNumPyWrites) {
  const struct {
    const char* descr;
    size_t bytes;
  } types[] = {{"<i2", 2}, {"<i4", 4}, {"<i8", 8}, {"|u1", 1}};
  for (const auto& type : types) {
    for (const char version : {1, 2, 3}) {
      const auto trace =
          TraceOfNpy(Npy(Dictionary(type.descr, "(2, 1, 2)"), Ids(type.bytes), version));
      ASSERT_TRUE(trace.ok()) << type.descr << ": " << trace.status();
      EXPECT_EQ(trace->first_position(), 0u);
      EXPECT_EQ(trace->num_positions(), 2u);
      EXPECT_EQ(trace->num_layers(), 1u);
      EXPECT_EQ(trace->counts(), "\2\2");
      EXPECT_EQ(trace->experts(), std::string("\3\1\0\2", 4));
      EXPECT_EQ(trace->weights(), "");
    }
  }
}

TEST(Npy, WhatIsNoneIsRefusedWithTheReason) {
  const std::string data = Ids(2);
  EXPECT_THAT(Refusal(Npy(Dictionary("<i2", "(2, 1, 2)", "True"), data)),
              HasSubstr("Fortran order"));
  EXPECT_THAT(Refusal(Npy(Dictionary(">i2", "(2, 1, 2)"), data)), HasSubstr("dtype \">i2\""));
  EXPECT_THAT(Refusal(Npy(Dictionary("<f4", "(1, 1, 2)"), data)), HasSubstr("is not int16"));
  EXPECT_THAT(Refusal(Npy(Dictionary("<i2", "(2, 2)"), data)),
              HasSubstr("[positions, layers, top_k], is (2, 2)"));
  EXPECT_THAT(Refusal(Npy(Dictionary("<i2", "(2, 0, 2)"), data)), HasSubstr("routes nothing"));
  EXPECT_THAT(Refusal(Npy(Dictionary("<i2", "(2, 1, 3)"), data)), HasSubstr("8 bytes of data"));
  EXPECT_THAT(Refusal(Npy(Dictionary("<i2", "(1, 1, 2)"), data)), HasSubstr("8 bytes of data"));
  EXPECT_THAT(Refusal(Npy(Dictionary("<i2", "(4294967296, 4294967296, 4)"), data)),
              HasSubstr("8 bytes of data"));
  EXPECT_THAT(Refusal(Npy(Dictionary("|u1", "(1, 1, 200)"), std::string(200, '\0'))),
              HasSubstr("at most 128"));
  EXPECT_THAT(Refusal(Npy(Dictionary("<i2", "(2, 1, -2)"), data)), HasSubstr("header"));
  EXPECT_THAT(Refusal(Npy(Dictionary("<i2", "(2, 1, 2"), data)), HasSubstr("header"));
  EXPECT_THAT(
      Refusal(Npy("{'descr': [('a', '<i2')], 'fortran_order': False, 'shape': (4,)}", data)),
      HasSubstr("is not int16"));
  EXPECT_THAT(Refusal(Npy("{}", data)), HasSubstr("header"));
  EXPECT_THAT(Refusal(Npy(Dictionary("<i2", "(2, 1, 2)"), data, 4)), HasSubstr("format 4"));
  // Cut anywhere.
  const std::string whole = Npy(Dictionary("<i2", "(2, 1, 2)"), data);
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(TraceOfNpy(whole.substr(0, size)).ok()) << size;
  }
}

TEST(Npy, AnIdThatIsNoneIsNamedByItsPlace) {
  std::string data = std::string(16, '\0');
  data[12] = '\xFF';
  data[13] = '\xFF';
  EXPECT_THAT(Refusal(Npy(Dictionary("<i2", "(2, 2, 2)"), data)),
              StartsWith("position 1, layer 1: -1 is not the id of an expert"));
  data[12] = '\x80';
  data[13] = '\0';
  EXPECT_THAT(Refusal(Npy(Dictionary("<i2", "(2, 2, 2)"), data)), HasSubstr("128 is not"));
}

TEST(Npy, WhatIsWrittenIsReadAndHasItsDataAligned) {
  v1::RoutingTrace trace;
  trace.set_num_positions(2);
  trace.set_num_layers(1);
  trace.set_counts("\2\2");
  trace.set_experts(std::string("\3\1\0\2", 4));
  const auto bytes = NpyOfTrace(trace);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ((bytes->size() - 8) % 64, 0u);
  EXPECT_THAT(*bytes, HasSubstr("{'descr': '<i2', 'fortran_order': False, 'shape': (2, 1, 2), }"));
  const auto read = TraceOfNpy(*bytes);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->SerializeAsString(), trace.SerializeAsString());
}

TEST(Npy, RowsOfSeveralCountsAreNamedByTheirPlace) {
  v1::RoutingTrace trace;
  trace.set_num_positions(2);
  trace.set_num_layers(2);
  trace.set_counts("\1\1\1\2");
  trace.set_experts(std::string("\3\1\0\2\1", 5));
  EXPECT_THAT(std::string(NpyOfTrace(trace).status().message()),
              HasSubstr("position 1, layer 1 has 2, those before have 1"));
  trace.set_counts("\1\1\1\1");
  EXPECT_THAT(std::string(NpyOfTrace(trace).status().message()), HasSubstr("5 experts"));
  trace.mutable_experts()->pop_back();
  EXPECT_TRUE(NpyOfTrace(trace).ok());
  trace.set_first_position(3);
  EXPECT_THAT(std::string(NpyOfTrace(trace).status().message()), HasSubstr("position 3"));
}

class TraceFileTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  std::string Problem(const std::string& name) const {
    return std::string(ReadTrace(Path(name)).status().message());
  }
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(Path(name), std::ios::binary) << bytes;
  }

  testing::TempFolder folder_;
};

TEST_F(TraceFileTest, ARecordingIsATraceWithoutLogits) {
  ASSERT_TRUE(SmallRecording().Write(Path("a.safetensors")).ok());
  const auto trace = ReadTrace(Path("a.safetensors"));
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(trace->first_position(), 4u);
  EXPECT_EQ(trace->num_positions(), 2u);
  EXPECT_EQ(trace->num_layers(), 2u);
  EXPECT_EQ(trace->counts(), "\1\2\1\1");
  EXPECT_EQ(trace->experts(), std::string("\0\2\1\0\2", 5));
  EXPECT_EQ(trace->weights().size(), 5 * sizeof(float));
  EXPECT_EQ(trace->logits(), "");
  // And through JSON.
  ASSERT_TRUE(WriteTrace(*trace, Path("a.json")).ok());
  const auto read = ReadTrace(Path("a.json"));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->SerializeAsString(), trace->SerializeAsString());
}

TEST_F(TraceFileTest, OnlyOneSequenceCanBeReplayed) {
  Recording recording = SmallRecording();
  recording.items[1] = 7;
  ASSERT_TRUE(recording.Write(Path("a.safetensors")).ok());
  EXPECT_THAT(Problem("a.safetensors"), HasSubstr("of several items"));
  recording = SmallRecording();
  recording.positions[1] = 4;
  ASSERT_TRUE(recording.Write(Path("a.safetensors")).ok());
  EXPECT_THAT(Problem("a.safetensors"), HasSubstr("row 1 is at 4"));
}

TEST_F(TraceFileTest, EveryErrorNamesTheFile) {
  EXPECT_THAT(Problem("none.json"), StartsWith(Path("none.json")));
  EXPECT_THAT(Problem("none.safetensors"), StartsWith(Path("none.safetensors")));
  Write("a.json", "{\"counts\": 4}");
  EXPECT_THAT(Problem("a.json"), AllOf(StartsWith(Path("a.json")), HasSubstr("RoutingTrace")));
  Write("a.json", "{}");
  EXPECT_THAT(Problem("a.json"), HasSubstr("0 counts for 0 positions"));
  Write("a.npy", Npy("{}", ""));
  EXPECT_THAT(Problem("a.npy"), StartsWith(Path("a.npy") + ": the header"));
  Write("a.npy", "text");
  EXPECT_THAT(Problem("a.npy"), HasSubstr(Path("a.npy")));
  v1::RoutingTrace some;
  EXPECT_THAT(std::string(WriteTrace(some, Path("a.safetensors")).message()),
              HasSubstr("is to be NAME.json or NAME.npy"));
  EXPECT_THAT(std::string(WriteTrace(some, "/no/such/folder/a.json").message()),
              StartsWith("/no/such/folder/a.json"));
  EXPECT_THAT(std::string(WriteTrace(some, Path("b.npy")).message()), StartsWith(Path("b.npy")));
}

}  // namespace
}  // namespace olmoe::client::trace
