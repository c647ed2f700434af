#include "client/notation/router_file.h"

#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/util/safetensors_writer.h"

namespace olmoe::client::notation {
namespace {

using ::testing::HasSubstr;

constexpr RouterFileShape kShape = {.num_layers = 4, .num_experts = 2, .hidden_size = 3};

struct Tensor {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

std::string Gate(int layer) { return absl::StrCat("model.layers.", layer, ".mlp.gate.weight"); }

class RouterFileTest : public ::testing::Test {
 protected:
  RouterFileTest() : folder_(::testing::TempDir() + "/router_file") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
  }
  std::string Write(const std::string& name, const std::vector<Tensor>& tensors) {
    SafetensorsWriter writer;
    for (const Tensor& tensor : tensors) {
      writer.Add(tensor.name, tensor.dtype, tensor.shape,
                 std::as_bytes(std::span(tensor.bytes.data(), tensor.bytes.size())));
    }
    const std::string path = folder_ + "/" + name;
    EXPECT_TRUE(writer.Write(path).ok());
    return path;
  }
  static std::string Error(const std::string& path) {
    const absl::Status status = ReadRouterFile(path, kShape).status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
    return std::string(status.message());
  }

  const std::string folder_;
};

TEST_F(RouterFileTest, TakesTheRoutersAmongOtherTensorsInAnyType) {
  const std::string path = Write(
      "some.safetensors",
      {{Gate(3), DType::kFloat32, {2, 3}, std::string(24, 'a')},
       {"model.norm.weight", DType::kFloat32, {1}, "zzzz"},
       {Gate(0), DType::kBFloat16, {2, 3}, std::string(12, 'b')},
       // 1.0 and the smallest half
       {Gate(1), DType::kFloat16, {2, 3}, std::string("\x00\x3c\x01\0\0\0\0\0\0\0\0\0", 12)}});
  const auto layers = ReadRouterFile(path, kShape);
  ASSERT_TRUE(layers.ok()) << layers.status();
  ASSERT_EQ(layers->size(), 3u);
  EXPECT_EQ((*layers)[0].layer(), 0u);
  EXPECT_EQ((*layers)[0].bfloat16(), std::string(12, 'b'));
  EXPECT_EQ((*layers)[1].layer(), 1u);
  EXPECT_EQ((*layers)[1].float32().substr(0, 8),
            std::string("\x00\x00\x80\x3f\x00\x00\x80\x33", 8));
  EXPECT_EQ((*layers)[2].layer(), 3u);
  EXPECT_EQ((*layers)[2].float32(), std::string(24, 'a'));
}

TEST_F(RouterFileTest, TakesACheckpointInShards) {
  Write("model-1.safetensors", {{Gate(0), DType::kFloat32, {2, 3}, std::string(24, 'a')}});
  Write("model-2.safetensors", {{Gate(2), DType::kFloat32, {2, 3}, std::string(24, 'c')}});
  std::ofstream(folder_ + "/model.safetensors.index.json")
      << "{\"weight_map\": {\"" << Gate(0) << "\": \"model-1.safetensors\", \"" << Gate(2)
      << "\": \"model-2.safetensors\"}}";
  const auto layers = ReadRouterFile(folder_, kShape);
  ASSERT_TRUE(layers.ok()) << layers.status();
  ASSERT_EQ(layers->size(), 2u);
  EXPECT_EQ((*layers)[1].layer(), 2u);
  EXPECT_EQ((*layers)[1].float32(), std::string(24, 'c'));
  std::filesystem::remove(folder_ + "/model-2.safetensors");
  EXPECT_THAT(Error(folder_), HasSubstr("model-2.safetensors"));
}

TEST_F(RouterFileTest, EverythingThatIsWrongIsNamed) {
  const std::string path =
      Write("wrong.safetensors", {{Gate(0), DType::kFloat32, {3, 2}, std::string(24, 'a')},
                                  {Gate(1), DType::kInt32, {2, 3}, std::string(24, 'a')},
                                  {Gate(4), DType::kFloat32, {2, 3}, std::string(24, 'a')}});
  const std::string error = Error(path);
  EXPECT_THAT(error, HasSubstr(Gate(0) + " must have shape [2, 3], has [3, 2]"));
  EXPECT_THAT(error, HasSubstr(Gate(1) + " must be F32, BF16 or F16, is I32"));
  EXPECT_THAT(error, HasSubstr(Gate(4) + " the model has 4 layers"));
  EXPECT_THAT(Error(Write("other.safetensors", {{"x", DType::kFloat32, {1}, "zzzz"}})),
              HasSubstr("has no tensor such as model.layers.0.mlp.gate.weight"));
  EXPECT_THAT(Error(folder_ + "/absent"), HasSubstr("absent"));
  EXPECT_THAT(Error(folder_), HasSubstr("has neither"));
}

TEST_F(RouterFileTest, WhatItWritesItReads) {
  std::vector<v1::RouterLayer> layers(2);
  layers[0].set_layer(0);
  layers[0].set_bfloat16(std::string(12, 'b'));
  layers[1].set_layer(3);
  layers[1].set_float32(std::string(24, 'a'));
  const std::string path = folder_ + "/out.safetensors";
  ASSERT_TRUE(WriteRouterFile(path, layers, kShape).ok());
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->metadata().at("format"), "pt");
  ASSERT_NE((*file)->Find(Gate(3)), nullptr);
  const auto read = ReadRouterFile(path, kShape);
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ((*read)[i].SerializeAsString(), layers[i].SerializeAsString());
  }
  EXPECT_FALSE(WriteRouterFile("/no/such/folder/x", layers, kShape).ok());
}

}  // namespace
}  // namespace olmoe::client::notation
