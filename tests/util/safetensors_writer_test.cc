#include "server/util/safetensors_writer.h"

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_data.h"

namespace olmoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

const std::vector<double> kWide = {0.5, -1};
const std::vector<uint8_t> kNarrow = {1, 2, 3};

SafetensorsWriter Writer() {
  SafetensorsWriter writer;
  writer.SetMetadata({{"format", "\"quoted\" \u00e9"}});
  writer.Add("wide", DType::kFloat64, {1, 2}, std::as_bytes(std::span(kWide)));
  writer.Add("nar\nrow", DType::kUint8, {3}, std::as_bytes(std::span(kNarrow)));
  writer.Add("empty", DType::kFloat32, {0, 7}, {});
  return writer;
}

TEST(SafetensorsWriterTest, WhatIsWrittenIsRead) {
  const testing::TempFolder folder;
  const std::string path = folder.File("x.safetensors");
  ASSERT_TRUE(Writer().Write(path).ok());
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT((*file)->metadata(), ElementsAre(Pair("format", "\"quoted\" \u00e9")));
  EXPECT_EQ((*file)->data_offset() % 8, 0u);
  ASSERT_EQ((*file)->entries().size(), 3u);
  const SafetensorsEntry* wide = (*file)->Find("wide");
  ASSERT_NE(wide, nullptr);
  EXPECT_EQ(wide->dtype, DType::kFloat64);
  EXPECT_THAT(wide->shape, ElementsAre(1, 2));
  std::vector<double> values(2);
  ASSERT_TRUE(
      (*file)->reader().ReadAt(wide->offset, std::as_writable_bytes(std::span(values))).ok());
  EXPECT_EQ(values, kWide);
  ASSERT_NE((*file)->Find("nar\nrow"), nullptr);
  EXPECT_EQ((*file)->Find("nar\nrow")->bytes, 3u);
}

TEST(SafetensorsWriterTest, TheBytesAreThoseOfTheFormat) {
  std::vector<SafetensorsEntry> entries = {
      {.name = "a", .dtype = DType::kBFloat16, .shape = {2, 3}},
      {.name = "b", .dtype = DType::kUint8, .shape = {}}};
  const std::string start = SafetensorsStart({{"k", "v"}}, &entries);
  const std::string header =
      R"({"__metadata__":{"k":"v"},"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},)"
      R"("b":{"dtype":"U8","shape":[],"data_offsets":[12,13]}})";
  EXPECT_EQ(start.substr(8, header.size()), header);
  EXPECT_EQ(start.find_first_not_of(' ', 8 + header.size()), start.npos);
  EXPECT_EQ(start.size() % 8, 0u);
  EXPECT_EQ(static_cast<uint8_t>(start[0]), start.size() - 8);
  EXPECT_EQ(start.substr(1, 7), std::string(7, '\0'));
  EXPECT_EQ(entries[0].offset, start.size());
  EXPECT_EQ(entries[1].offset, start.size() + 12);
  EXPECT_EQ(entries[1].bytes, 1u);
}

TEST(SafetensorsWriterTest, AnErrorLeavesWhatWasThere) {
  const testing::TempFolder folder;
  const std::string path = folder.File("absent/x.safetensors");
  const absl::Status status = Writer().Write(path);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path + ": cannot be written"));
  // A folder stands where the file would be: it is not replaced, and nothing is left beside it.
  const std::string taken = folder.File("taken");
  std::filesystem::create_directory(taken);
  EXPECT_FALSE(Writer().Write(taken).ok());
  EXPECT_FALSE(std::filesystem::exists(taken + ".partial"));
}

}  // namespace
}  // namespace olmoe
