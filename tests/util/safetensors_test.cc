#include "server/util/safetensors.h"

#include <sys/stat.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/util/sha256.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_data.h"

namespace olmoe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string LengthBytes(uint64_t length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(length >> (8 * i));
  return bytes;
}

// A file: the length of the header, the header, data.
std::string FileOf(const std::string& header, size_t data_bytes) {
  return LengthBytes(header.size()) + header + std::string(data_bytes, 'd');
}

// Two tensors, the second one first in the header: 24 bytes of data.
constexpr char kGoodHeader[] =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,2],"data_offsets":[8,24]},)"
    R"("a":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}})";
constexpr uint64_t kGoodData = 24;

absl::StatusOr<std::vector<SafetensorsEntry>> Parse(const std::string& header,
                                                    uint64_t data_bytes = kGoodData) {
  absl::StatusOr<SafetensorsHeader> parsed = ParseSafetensorsHeader(header, 1000, data_bytes);
  if (!parsed.ok()) return parsed.status();
  return parsed->entries;
}

TEST(SafetensorsHeaderTest, EntriesComeInFileOrderWithPlacesInTheFile) {
  const auto entries = Parse(kGoodHeader);
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 2u);
  EXPECT_EQ((*entries)[0].name, "a");
  EXPECT_EQ((*entries)[0].dtype, DType::kBFloat16);
  EXPECT_THAT((*entries)[0].shape, ElementsAre(4));
  EXPECT_EQ((*entries)[0].offset, 1000u);
  EXPECT_EQ((*entries)[0].bytes, 8u);
  EXPECT_EQ((*entries)[1].name, "b");
  EXPECT_EQ((*entries)[1].dtype, DType::kFloat32);
  EXPECT_THAT((*entries)[1].shape, ElementsAre(2, 2));
  EXPECT_EQ((*entries)[1].offset, 1008u);
  EXPECT_EQ((*entries)[1].bytes, 16u);
}

TEST(SafetensorsHeaderTest, AcceptsWhatTheFormatAllows) {
  const struct {
    const char* what;
    const char* header;
    uint64_t data_bytes;
  } kCases[] = {
      {"no tensor", "{}", 0},
      {"metadata alone", R"({"__metadata__":{"a":"b","c":"d"}})", 0},
      {"padding", "{}      ", 0},
      {"scalar", R"({"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]}})", 8},
      {"empty tensor", R"({"a":{"dtype":"F64","shape":[0,7],"data_offsets":[0,0]}})", 0},
      {"empty tensors at one place",
       R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
       R"("a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
       R"("c":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
       2},
      {"huge dimension of an empty tensor",
       R"({"a":{"dtype":"U8","shape":[0,4611686018427387904],"data_offsets":[0,0]}})", 0},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.what);
    EXPECT_TRUE(Parse(test.header, test.data_bytes).ok())
        << Parse(test.header, test.data_bytes).status();
  }
}

TEST(SafetensorsHeaderTest, KnowsEveryDTypeByItsSize) {
  const struct {
    const char* name;
    int bytes;
  } kCases[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
                {"U16", 2},  {"I16", 2}, {"F16", 2}, {"BF16", 2},    {"U32", 4},
                {"I32", 4},  {"F32", 4}, {"U64", 8}, {"I64", 8},     {"F64", 8}};
  for (const auto& test : kCases) {
    const auto entries = Parse(absl::StrFormat(R"({"a":{"dtype":"%s","shape":[3],)"
                                               R"("data_offsets":[0,%d]}})",
                                               test.name, 3 * test.bytes),
                               3 * test.bytes);
    ASSERT_TRUE(entries.ok()) << entries.status();
    EXPECT_EQ(DTypeName(entries->front().dtype), test.name);
  }
}

// A header with one tensor "culprit" whose description is `fields`.
std::string Culprit(const std::string& fields) {
  return absl::StrCat(R"({"culprit":{)", fields, "}}");
}

TEST(SafetensorsHeaderTest, HostileTensorsAreRefusedByName) {
  const struct {
    std::string header;
    const char* expected;
  } kCases[] = {
      // dtype
      {Culprit(R"("dtype":"F31","shape":[6],"data_offsets":[0,24])"),
       "dtype: unknown dtype \"F31\""},
      {Culprit(R"("dtype":"","shape":[6],"data_offsets":[0,24])"), "unknown dtype"},
      {Culprit(R"("dtype":7,"shape":[6],"data_offsets":[0,24])"), "dtype: must be a string, is 7"},
      {Culprit(R"("dtype":["F32"],"shape":[6],"data_offsets":[0,24])"),
       "must be a string, is [\"F32\"]"},
      {Culprit(R"("dtype":null,"shape":[6],"data_offsets":[0,24])"), "must be a string, is null"},
      // shape
      {Culprit(R"("dtype":"F32","shape":[7],"data_offsets":[0,24])"), "takes 28 bytes"},
      {Culprit(R"("dtype":"F32","shape":[5],"data_offsets":[0,24])"), "span 24"},
      {Culprit(R"("dtype":"F32","shape":[],"data_offsets":[0,24])"), "takes 4"},
      {Culprit(R"("dtype":"F32","shape":[0],"data_offsets":[0,24])"), "takes 0"},
      {Culprit(R"("dtype":"F32","shape":[-6],"data_offsets":[0,24])"),
       "shape[0]: must be an integer from 0 to 9223372036854775807, is -6"},
      {Culprit(R"("dtype":"F32","shape":[6.0],"data_offsets":[0,24])"), "is 6.0"},
      {Culprit(R"("dtype":"F32","shape":["6"],"data_offsets":[0,24])"), "is \"6\""},
      {Culprit(R"("dtype":"F32","shape":[true],"data_offsets":[0,24])"), "is true"},
      {Culprit(R"("dtype":"F32","shape":[[6]],"data_offsets":[0,24])"), "deeper"},
      {Culprit(R"("dtype":"F32","shape":6,"data_offsets":[0,24])"),
       "shape: must be an array, is 6"},
      {Culprit(R"("dtype":"F32","shape":{},"data_offsets":[0,24])"),
       "shape: must be an array, is {}"},
      {Culprit(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,6],"data_offsets":[0,24])"), "dimensions"},
      {Culprit(R"("dtype":"F32","shape":[4611686018427387910],"data_offsets":[0,24])"),
       "overflows"},  // times 4 is 24 modulo 2^64
      {Culprit(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,24])"),
       "overflows"},
      {Culprit(R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,24])"),
       "is 9223372036854775808"},
      {Culprit(R"("dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,24])"),
       "is 1e+20"},
      // data_offsets
      {Culprit(R"("dtype":"F32","shape":[6],"data_offsets":[0])"), "begin, end"},
      {Culprit(R"("dtype":"F32","shape":[6],"data_offsets":[])"), "begin, end"},
      {Culprit(R"("dtype":"F32","shape":[6],"data_offsets":[0,24,48])"), "begin, end"},
      {Culprit(R"("dtype":"F32","shape":[6],"data_offsets":[24,0])"), "backwards"},
      {Culprit(R"("dtype":"F32","shape":[6],"data_offsets":[-24,0])"),
       "data_offsets[0]: must be an integer"},
      {Culprit(R"("dtype":"F32","shape":[6],"data_offsets":"0,24")"),
       "data_offsets: must be an array, is \"0,24\""},
      {Culprit(R"("dtype":"F32","shape":[6],"data_offsets":[8,32])"), "hole"},
      {Culprit(R"("dtype":"U8","shape":[25],"data_offsets":[0,25])"), "24 bytes of data"},
      {Culprit(R"("dtype":"U8","shape":[9223372036854775807],)"
               R"("data_offsets":[0,9223372036854775807])"),
       "24 bytes of data"},
      {Culprit(R"("dtype":"U8","shape":[24],"data_offsets":[18446744073709551592,0])"),
       "backwards"},
      // keys
      {Culprit(R"("shape":[6],"data_offsets":[0,24])"), "needs dtype"},
      {Culprit(R"("dtype":"F32","data_offsets":[0,24])"), "needs dtype"},
      {Culprit(R"("dtype":"F32","shape":[6])"), "needs dtype"},
      {Culprit(""), "needs dtype"},
      {Culprit(R"("dtype":"F32","dtype":"F32","shape":[6],"data_offsets":[0,24])"),
       "duplicate key \"dtype\""},
      {Culprit(R"("dtype":"F32","shape":[6],"data_offsets":[0,24],"extra":1)"),
       "field \"extra\" is not supported"},
      {R"({"culprit":5})", "tensor culprit: must be an object, is 5"},
      {R"({"culprit":"F32"})", "is \"F32\""},
      {R"({"culprit":null})", "is null"},
      {R"({"culprit":[0,24]})", "is [0,24]"},
      // between tensors
      {R"({"a":{"dtype":"U8","shape":[16],"data_offsets":[0,16]},)"
       R"("culprit":{"dtype":"U8","shape":[16],"data_offsets":[8,24]}})",
       "overlap"},
      {R"({"a":{"dtype":"U8","shape":[24],"data_offsets":[0,24]},)"
       R"("culprit":{"dtype":"U8","shape":[24],"data_offsets":[0,24]}})",
       "overlap"},
      {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},)"
       R"("culprit":{"dtype":"U8","shape":[8],"data_offsets":[16,24]}})",
       "hole"},
      {R"({"a":{"dtype":"U8","shape":[24],"data_offsets":[0,24]},)"
       R"("culprit":{"dtype":"U8","shape":[0],"data_offsets":[8,8]}})",
       "overlap"},
      {R"({"culprit":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},)"
       R"("culprit":{"dtype":"U8","shape":[16],"data_offsets":[8,24]}})",
       "duplicate key \"culprit\""},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.header);
    const absl::Status status = Parse(test.header).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("culprit"));
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.expected));
  }
}

TEST(SafetensorsHeaderTest, HostileHeadersAreRefused) {
  const std::string good = kGoodHeader;
  const struct {
    std::string header;
    const char* expected;
  } kCases[] = {
      {"", "not JSON"},
      {"{", "not JSON"},
      {"[]", "must be an object, is []"},
      {"5", "must be an object, is 5"},
      {"{}", "cover 0 of 24"},
      {good + "}", "not JSON"},
      {good + good, "not JSON"},
      {good + std::string(1, '\0'), "NUL"},
      {good.substr(0, good.size() - 1), "not JSON"},
      {"/**/" + good, "not JSON"},
      {R"({"__metadata__":5})", "__metadata__: must be an object, is 5"},
      {R"({"__metadata__":[]})", "__metadata__: must be an object, is []"},
      {R"({"__metadata__":{"a":5}})", "__metadata__.a: must be a string, is 5"},
      {R"({"__metadata__":{"a":{}}})", "__metadata__.a: must be a string, is {}"},
      {R"({"__metadata__":{"a":"1","a":"2"}})", "__metadata__: duplicate key \"a\""},
      {R"({"__metadata__":{},"__metadata__":{}})", "duplicate key \"__metadata__\""},
      {"{\"\xc3\x28\":{}}", "not JSON"},
      {"{\"" + std::string(2'000'000, 'n') + "\":{}}", "without a break at byte 1"},
      {R"({"a":{"shape":[)" + std::string(2'000'000, '1') + "]}}", "without a break at byte 14"},
      {std::string(1'000'000, '['), "nested deeper than 3"},
      {R"({"a":)" + std::string(1'000'000, '{'), "not JSON"},
      {R"({"a":{"shape":)" + std::string(1'000'000, '['), "a.shape: nested deeper"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.header.substr(0, 200));
    const absl::Status status = Parse(test.header).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.expected));
    EXPECT_LT(status.message().size(), 400u);
  }
}

TEST(SafetensorsHeaderTest, TheNumberOfTensorsIsBounded) {
  std::string header = "{";
  for (size_t i = 0; i <= kMaxSafetensorsEntries; ++i) {
    absl::StrAppend(&header, i == 0 ? "" : ",", "\"", i,
                    R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})");
  }
  header += "}";
  EXPECT_THAT(std::string(Parse(header, 0).status().message()), HasSubstr("more than"));
}

TEST(SafetensorsHeaderTest, NamesAreEscapedAndCutInMessages) {
  const std::string header =
      absl::StrCat("{\"a\\nb", std::string(100'000, 'x'), R"(":{"dtype":"F31"}})");
  const std::string message(Parse(header).status().message());
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_THAT(message, HasSubstr("a\\nbxxx"));
  EXPECT_LT(message.size(), 200u);
}

class SafetensorsFileTest : public ::testing::Test {
 protected:
  absl::Status OpenStatus(const std::string& content) {
    return SafetensorsFile::Open(folder_.Write("x.safetensors", content)).status();
  }

  testing::TempFolder folder_;
};

TEST_F(SafetensorsFileTest, ReadsAFile) {
  const std::string content = FileOf(kGoodHeader, kGoodData);
  const auto file = SafetensorsFile::Open(folder_.Write("x.safetensors", content));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->data_offset(), content.size() - kGoodData);
  EXPECT_EQ((*file)->header_digest(), Sha256Hex(content.substr(0, content.size() - kGoodData)));
  ASSERT_NE((*file)->Find("b"), nullptr);
  EXPECT_EQ((*file)->Find("b")->offset, content.size() - 16);
  EXPECT_EQ((*file)->Find("c"), nullptr);
}

TEST_F(SafetensorsFileTest, TruncationAtEveryByteIsRefused) {
  const std::string content = FileOf(kGoodHeader, kGoodData);
  for (size_t size = 0; size < content.size(); ++size) {
    const absl::Status status = OpenStatus(content.substr(0, size));
    ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << size;
    ASSERT_THAT(std::string(status.message()), HasSubstr("x.safetensors: ")) << size;
  }
  EXPECT_TRUE(OpenStatus(content).ok());
  EXPECT_THAT(std::string(OpenStatus(content + "d").message()), HasSubstr("cover 24 of 25"));
}

TEST_F(SafetensorsFileTest, HeaderLengthsBeyondTheFileOrTheLimitAreRefused) {
  const std::string rest = std::string(kGoodHeader) + std::string(kGoodData, 'd');
  for (const uint64_t length : {uint64_t{0}, uint64_t{rest.size() + 1}, uint64_t{1} << 32,
                                uint64_t{1} << 63, UINT64_MAX, UINT64_MAX - 7}) {
    const absl::Status status = OpenStatus(LengthBytes(length) + rest);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << length;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(absl::StrCat("header length ", length, ", expected 1 to ", rest.size())));
  }
}

TEST_F(SafetensorsFileTest, AHeaderOverTheLimitIsNotRead) {
  const std::string path =
      folder_.Write("x.safetensors", LengthBytes(kMaxSafetensorsHeaderBytes + 1) + "{");
  std::filesystem::resize_file(path, kMaxSafetensorsHeaderBytes * 2);  // sparse
  EXPECT_THAT(std::string(SafetensorsFile::Open(path).status().message()),
              HasSubstr("header length 100000001, expected 1 to 100000000"));
}

TEST_F(SafetensorsFileTest, WhatIsNotARegularFileIsRefusedWithoutWaiting) {
  EXPECT_EQ(SafetensorsFile::Open(folder_.File("absent")).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(SafetensorsFile::Open(folder_.File("absent")).status().message()),
              HasSubstr(folder_.File("absent")));
  EXPECT_EQ(SafetensorsFile::Open(folder_.path()).status().code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_EQ(mkfifo(folder_.File("fifo").c_str(), 0600), 0);
  EXPECT_EQ(SafetensorsFile::Open(folder_.File("fifo")).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SafetensorsFile::Open("/dev/null").status().code(), absl::StatusCode::kInvalidArgument);
}

// What a mutated header promises must hold, whatever it says.
TEST(SafetensorsHeaderTest, MutatedHeadersAreRefusedOrCoverTheData) {
  std::mt19937_64 random(1);
  const std::string good = kGoodHeader;
  int accepted = 0;
  for (int trial = 0; trial < 20'000; ++trial) {
    std::string header = good;
    header[random() % header.size()] = static_cast<char>(random());
    const auto entries = Parse(header);
    if (!entries.ok()) continue;
    ++accepted;
    uint64_t end = 1000;
    for (const SafetensorsEntry& entry : *entries) {
      ASSERT_EQ(entry.offset, end) << header;
      end += entry.bytes;
    }
    ASSERT_EQ(end, 1000 + kGoodData) << header;
  }
  EXPECT_GT(accepted, 0);  // a letter of a name or of the metadata
  EXPECT_LT(accepted, 10'000);
}

TEST(SafetensorsGoldenTest, TheReferenceDataIsReadable) {
  for (const char* name :
       {"golden/standard/golden.safetensors", "golden/sharded/golden.safetensors"}) {
    const std::string path = testing::DataPath(name);
    if (path.empty()) continue;
    const auto file = SafetensorsFile::Open(path);
    ASSERT_TRUE(file.ok()) << file.status();
    const SafetensorsEntry* logits = (*file)->Find("len17.k8.router_logits");
    ASSERT_NE(logits, nullptr);
    EXPECT_EQ(logits->dtype, DType::kFloat32);
    EXPECT_EQ(logits->shape.size(), 3u);
    EXPECT_EQ(logits->shape[1], 17);
  }
}

}  // namespace
}  // namespace olmoe
