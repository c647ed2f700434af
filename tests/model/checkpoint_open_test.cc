// Checkpoint::Open: what is refused, and how it is said.
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/model/checkpoint.h"
#include "tests/support/synthetic_checkpoint.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_data.h"

namespace olmoe::model {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kShard1[] = "model-00001-of-00003.safetensors";
constexpr char kShard2[] = "model-00002-of-00003.safetensors";
constexpr char kShard3[] = "model-00003-of-00003.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";

class CheckpointOpenTest : public ::testing::Test {
 protected:
  // In place of what the folder held.
  void Write(const testing::SyntheticCheckpointOptions& options) {
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      std::filesystem::remove(entry.path());
    }
    ASSERT_TRUE(testing::WriteSyntheticCheckpoint(folder_.path(), options).ok());
  }

  void WriteSharded() { Write({.num_shards = 3}); }

  // Replaces config.json by that of TinyConfig after `change`.
  void ChangeConfig(const std::function<void(OlmoeConfig*)>& change) {
    OlmoeConfig config = testing::TinyConfig();
    change(&config);
    folder_.Write("config.json", testing::ConfigJson(config));
  }

  void ChangeIndex(const std::function<void(json*)>& change) {
    json index = json::parse(testing::ReadFileOrDie(folder_.File(kIndex)));
    change(&index);
    folder_.Write(kIndex, index.dump());
  }

  // Replaces text in a safetensors file by text of the same length.
  void ReplaceInFile(const std::string& name, const std::string& from, const std::string& to) {
    ASSERT_EQ(from.size(), to.size());
    std::string content = testing::ReadFileOrDie(folder_.File(name));
    const size_t at = content.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    content.replace(at, from.size(), to);
    folder_.Write(name, content);
  }

  absl::Status Open() { return Checkpoint::Open(folder_.path()).status(); }
  std::string Message() { return std::string(Open().message()); }

  testing::TempFolder folder_;
};

TEST_F(CheckpointOpenTest, ASingleFileAndShardsOpen) {
  Write({});
  const auto single = Checkpoint::Open(folder_.path());
  ASSERT_TRUE(single.ok()) << single.status();
  EXPECT_EQ((*single)->config().num_experts, 8);
  EXPECT_FALSE((*single)->has_tokenizer());
  EXPECT_EQ((*single)->total_bytes(),
            std::filesystem::file_size(folder_.File("model.safetensors")));

  testing::TempFolder other;
  ASSERT_TRUE(testing::WriteSyntheticCheckpoint(other.path(), {.num_shards = 3}).ok());
  other.Write("tokenizer.json", "{}");
  const auto sharded = Checkpoint::Open(other.path());
  ASSERT_TRUE(sharded.ok()) << sharded.status();
  EXPECT_EQ((*sharded)->tensors().size(), (*single)->tensors().size());
  EXPECT_EQ((*sharded)->tensors().front().file, other.File(kShard1));
  EXPECT_EQ((*sharded)->tensors().back().file, other.File(kShard3));
  EXPECT_TRUE((*sharded)->has_tokenizer());
  EXPECT_EQ((*sharded)->tokenizer_path(), other.File("tokenizer.json"));
}

TEST_F(CheckpointOpenTest, EveryTensorKnowsWhatItIs) {
  Write({});
  const auto checkpoint = Checkpoint::Open(folder_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  int experts = 0;
  for (const TensorInfo& tensor : (*checkpoint)->tensors()) {
    if (tensor.role == TensorRole::kExpertDown) {
      EXPECT_EQ(tensor.name, absl::StrCat("model.layers.", tensor.layer, ".mlp.experts.",
                                          tensor.expert, ".down_proj.weight"));
      ++experts;
    }
    if (tensor.role == TensorRole::kKeyNorm) {
      EXPECT_EQ(tensor.shape, std::vector<int64_t>{16});
      EXPECT_EQ(tensor.expert, -1);
    }
    if (tensor.role == TensorRole::kHead) {
      EXPECT_EQ(tensor.layer, -1);
    }
  }
  EXPECT_EQ(experts, 2 * 8);
}

TEST_F(CheckpointOpenTest, AMissingFolderOrFileIsNamed) {
  EXPECT_EQ(Checkpoint::Open("/nonexistent/model").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(Checkpoint::Open("/nonexistent/model").status().message()),
              HasSubstr("/nonexistent/model/config.json"));
  EXPECT_THAT(Message(), HasSubstr("config.json"));
  ChangeConfig([](OlmoeConfig*) {});
  EXPECT_EQ(Open().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(), AllOf(HasSubstr("model.safetensors"), HasSubstr(kIndex)));
}

TEST_F(CheckpointOpenTest, GenerationConfigIsReadWhereItIs) {
  Write({});
  folder_.Write("generation_config.json", R"({"eos_token_id": [3, 4]})");
  const auto checkpoint = Checkpoint::Open(folder_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->config().end_token_ids, (std::vector<int64_t>{3, 4}));
  folder_.Write("generation_config.json", "{");
  EXPECT_THAT(Message(), HasSubstr("generation_config.json: not JSON"));
}

TEST_F(CheckpointOpenTest, AConfigErrorNamesTheFileAndTheKey) {
  Write({});
  folder_.Write("config.json", R"({"model_type": "mixtral"})");
  EXPECT_THAT(Message(), AllOf(HasSubstr(folder_.File("config.json") + ": model_type"),
                               HasSubstr("mixtral"), HasSubstr("olmoe")));
  folder_.Write("config.json", std::string(2 << 20, ' '));
  EXPECT_THAT(Message(), HasSubstr("config.json: 2097152 bytes"));
}

TEST_F(CheckpointOpenTest, MissingTensorsAreNamed) {
  Write({});
  ChangeConfig([](OlmoeConfig* config) { config->num_layers = 3; });
  EXPECT_THAT(Message(), AllOf(HasSubstr("missing: model.layers.2.input_layernorm.weight"),
                               HasSubstr("more")));
  ChangeConfig([](OlmoeConfig* config) { config->attention_bias = true; });
  EXPECT_THAT(Message(), HasSubstr("model.layers.0.self_attn.q_proj.bias"));
}

TEST_F(CheckpointOpenTest, UnknownTensorsAreNamed) {
  Write({});
  ChangeConfig([](OlmoeConfig* config) { config->num_layers = 1; });
  EXPECT_THAT(Message(),
              AllOf(HasSubstr("model.safetensors: tensor model.layers.1."), HasSubstr("unknown")));
  ChangeConfig([](OlmoeConfig* config) { config->num_experts = 7; });
  EXPECT_THAT(Message(), HasSubstr("tensor model.layers.0.mlp.experts.7.down_proj.weight"));
}

TEST_F(CheckpointOpenTest, WrongShapesAreNamedWithBothShapes) {
  Write({});
  ChangeConfig([](OlmoeConfig* config) { config->vocab_size = 65; });
  EXPECT_THAT(Message(), AllOf(HasSubstr("tensor lm_head.weight"), HasSubstr("[64, 32]"),
                               HasSubstr("[65, 32]")));
  ChangeConfig([](OlmoeConfig* config) { config->num_kv_heads = 4; });
  EXPECT_THAT(Message(),
              AllOf(HasSubstr("tensor model.layers.0.self_attn.k_"), HasSubstr("expected [32")));
  // As many elements, in another shape.
  ChangeConfig([](OlmoeConfig*) {});
  ReplaceInFile("model.safetensors", R"("shape":[64,32])", R"("shape":[32,64])");
  EXPECT_THAT(Message(), AllOf(HasSubstr("tensor lm_head.weight"), HasSubstr("[32, 64]")));
}

TEST_F(CheckpointOpenTest, OtherDTypesAreNamed) {
  Write({});
  ReplaceInFile("model.safetensors", R"("dtype":"BF16")", R"("dtype":"I16" )");
  EXPECT_THAT(Message(), AllOf(HasSubstr("tensor lm_head.weight"), HasSubstr("dtype I16"),
                               HasSubstr("BF16, F16 or F32")));
}

TEST_F(CheckpointOpenTest, ATiedHeadMayBeThereOrNot) {
  Write({});
  ChangeConfig([](OlmoeConfig* config) { config->tie_word_embeddings = true; });
  EXPECT_TRUE(Open().ok()) << Open();

  testing::SyntheticCheckpointOptions options;
  options.config.tie_word_embeddings = true;
  Write(options);
  EXPECT_TRUE(Open().ok()) << Open();
  ChangeConfig([](OlmoeConfig*) {});
  EXPECT_THAT(Message(), HasSubstr("missing: lm_head.weight"));
}

TEST_F(CheckpointOpenTest, BiasesBelongToAttentionBias) {
  testing::SyntheticCheckpointOptions options;
  options.config.attention_bias = true;
  Write(options);
  EXPECT_TRUE(Open().ok()) << Open();
  ChangeConfig([](OlmoeConfig*) {});
  EXPECT_THAT(Message(), HasSubstr("tensor model.layers.0.self_attn.k_proj.bias: unknown"));
}

TEST_F(CheckpointOpenTest, MissingShardsAreNamed) {
  WriteSharded();
  std::filesystem::remove(folder_.File(kShard2));
  std::filesystem::remove(folder_.File(kShard3));
  EXPECT_EQ(Open().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(), AllOf(HasSubstr(kIndex), HasSubstr(kShard2), HasSubstr(kShard3),
                               Not(HasSubstr(kShard1))));
}

TEST_F(CheckpointOpenTest, TheIndexSaysWhichShardsThereAreAndNothingElse) {
  WriteSharded();
  ChangeIndex([](json* index) {
    (*index)["surprise"] = {{"a", {1, 2}}};
    (*index)["weight_map"]["model.norm.weight"] = kShard1;  // it is in the third
    (*index)["weight_map"]["model.phantom.weight"] = kShard2;
    (*index)["weight_map"].erase("model.embed_tokens.weight");
  });
  EXPECT_TRUE(Open().ok()) << Open();
}

TEST_F(CheckpointOpenTest, ShardsMayLieInAFolderBelow) {
  WriteSharded();
  std::filesystem::create_directories(folder_.File("weights/part"));
  for (const char* shard : {kShard1, kShard2, kShard3}) {
    std::filesystem::rename(folder_.File(shard),
                            folder_.File(absl::StrCat("weights/part/", shard)));
  }
  ChangeIndex([](json* index) {
    for (auto& shard : (*index)["weight_map"]) {
      shard = "weights/./part/" + shard.get<std::string>();
    }
  });
  EXPECT_TRUE(Open().ok()) << Open();
}

TEST_F(CheckpointOpenTest, ATensorInTwoShardsIsNamed) {
  WriteSharded();
  std::filesystem::copy_file(folder_.File(kShard1), folder_.File("extra.safetensors"));
  ChangeIndex([](json* index) {
    (*index)["weight_map"]["model.embed_tokens.weight"] = "extra.safetensors";
  });
  EXPECT_THAT(Message(), AllOf(HasSubstr(kShard1), HasSubstr("extra.safetensors"),
                               HasSubstr("is there a second time")));
}

TEST_F(CheckpointOpenTest, ShardsOutsideTheFolderAreRefused) {
  WriteSharded();
  for (const std::string shard :
       {"../model.safetensors", "/etc/passwd", "/tmp/model.safetensors", "a/../../b.safetensors",
        "..safetensors", ".safetensors", "a/.safetensors", "", "config.json", "a\nb.safetensors"}) {
    SCOPED_TRACE(shard);
    ChangeIndex([&](json* index) { (*index)["weight_map"]["model.norm.weight"] = shard; });
    EXPECT_THAT(Message(), AllOf(HasSubstr(kIndex), HasSubstr("model.norm.weight"),
                                 HasSubstr("in this folder")));
    EXPECT_EQ(Message().find('\n'), std::string::npos);
  }
  ChangeIndex([](json* index) {
    (*index)["weight_map"]["model.norm.weight"] = std::string("a\0b.safetensors", 15);
  });
  EXPECT_THAT(Message(), HasSubstr("in this folder"));
}

TEST_F(CheckpointOpenTest, HostileIndicesAreRefused) {
  WriteSharded();
  std::string many = R"({"weight_map":{)";
  for (int i = 0; i < 300; ++i) {
    absl::StrAppend(&many, i == 0 ? "" : ",", "\"t", i, "\":\"s", i, ".safetensors\"");
  }
  many += "}}";
  const struct {
    std::string index;
    const char* expected;
  } kCases[] = {
      {"", "not JSON"},
      {"[]", "must be an object, is []"},
      {"{}", "weight_map: is missing"},
      {R"({"metadata":{}})", "weight_map: is missing"},
      {R"({"weight_map":{}})", "weight_map: is empty"},
      {R"({"weight_map":[]})", "weight_map: must be an object, is []"},
      {R"({"weight_map":"a.safetensors"})", "weight_map: must be an object, is \"a.safetensors\""},
      {R"({"weight_map":{"culprit":5}})", "weight_map.culprit: must be a string, is 5"},
      {R"({"weight_map":{"culprit":null}})", "weight_map.culprit: must be a string, is null"},
      {R"({"weight_map":{"culprit":{"a":"b"}}})",
       "weight_map.culprit: must be a string, is {\"a\":\"b\"}"},
      {R"({"weight_map":{"culprit":["a.safetensors"]}})",
       "weight_map.culprit: must be a string, is [\"a.safetensors\"]"},
      {R"({"weight_map":{"culprit":"a.safetensors","culprit":"a.safetensors"}})",
       "weight_map: duplicate key \"culprit\""},
      {R"({"weight_map":{},"weight_map":{}})", "duplicate key \"weight_map\""},
      {R"({"metadata":{},"metadata":{}})", "duplicate key \"metadata\""},
      {R"({"surprise":{},"weight_map":{}})", "weight_map: is empty"},
      {R"({"metadata":)" + std::string(100'000, '['), "deeper"},
      {many, "more than 256 shards"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.index.substr(0, 100));
    folder_.Write(kIndex, test.index);
    EXPECT_EQ(Open().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(), AllOf(HasSubstr(kIndex), HasSubstr(test.expected)));
    EXPECT_LT(Message().size(), 400u);
  }
}

TEST_F(CheckpointOpenTest, MetadataOfTheIndexMayHoldAnything) {
  WriteSharded();
  ChangeIndex([](json* index) {
    (*index)["metadata"] = {{"total_size", 1.5}, {"a", {1, -2, nullptr}}, {"b", {{"c", true}}}};
  });
  EXPECT_TRUE(Open().ok()) << Open();
}

TEST_F(CheckpointOpenTest, AShardThatIsNoSafetensorsFileIsNamed) {
  WriteSharded();
  folder_.Write(kShard2, "version https://git-lfs.github.com/spec/v1\n");
  EXPECT_EQ(Open().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(), AllOf(HasSubstr(kShard2), HasSubstr("header length")));
}

TEST_F(CheckpointOpenTest, TruncationAtEveryTensorIsRefused) {
  WriteSharded();
  const auto intact = Checkpoint::Open(folder_.path());
  ASSERT_TRUE(intact.ok());
  for (const TensorInfo& tensor : (*intact)->tensors()) {
    const std::string content = testing::ReadFileOrDie(tensor.file);
    for (const size_t size : {tensor.offset, tensor.offset + 1, tensor.offset + tensor.bytes - 1}) {
      const std::string name = std::filesystem::path(tensor.file).filename();
      folder_.Write(name, content.substr(0, size));
      ASSERT_EQ(Open().code(), absl::StatusCode::kInvalidArgument) << tensor.name << " " << size;
      ASSERT_THAT(Message(), AllOf(HasSubstr(tensor.file), HasSubstr("truncated"))) << size;
      folder_.Write(name, content);
    }
  }
  EXPECT_TRUE(Open().ok());
}

// The model that this config describes takes 2^57 bytes: had memory been taken before the
// files were compared with it, this would fail in another way.
TEST_F(CheckpointOpenTest, AnEnormousConfigIsRefusedByItsFirstWrongShape) {
  Write({});
  ChangeConfig([](OlmoeConfig* config) {
    config->num_layers = 1024;
    config->hidden_size = 1 << 16;
    config->intermediate_size = 1 << 16;
    config->num_experts = 128;
    config->vocab_size = 1 << 24;
  });
  EXPECT_EQ(Open().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(), HasSubstr("expected [16777216, 65536]"));
}

// One byte of a header replaced, 20,000 times: refused, or read as a checkpoint whose
// tensors lie inside its file.
TEST_F(CheckpointOpenTest, CorruptHeaderBytesNeverCrash) {
  testing::SyntheticCheckpointOptions options;
  options.config.num_layers = 1;
  options.config.num_experts = 2;
  options.config.experts_per_token = 1;
  Write(options);
  const std::string path = folder_.File("model.safetensors");
  const std::string content = testing::ReadFileOrDie(path);
  const size_t header_bytes = content.size() - [&] {
    const auto intact = Checkpoint::Open(folder_.path());
    size_t bytes = 0;
    for (const TensorInfo& tensor : (*intact)->tensors()) bytes += tensor.bytes;
    return bytes;
  }();

  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  std::mt19937_64 random(1);
  int accepted = 0;
  for (int trial = 0; trial < 20'000; ++trial) {
    const size_t at = random() % header_bytes;
    file.seekp(static_cast<std::streamoff>(at)).put(static_cast<char>(random())).flush();
    const auto checkpoint = Checkpoint::Open(folder_.path());
    if (checkpoint.ok()) {
      ++accepted;
      for (const TensorInfo& tensor : (*checkpoint)->tensors()) {
        ASSERT_LE(tensor.offset + tensor.bytes, content.size());
      }
    } else {
      ASSERT_THAT(std::string(checkpoint.status().message()), HasSubstr(path));
    }
    file.seekp(static_cast<std::streamoff>(at)).put(content[at]).flush();
  }
  EXPECT_GT(accepted, 0);  // the same byte again, or a letter of the metadata
  EXPECT_LT(accepted, 2'000);
}

TEST(CheckpointGoldenTest, TheGoldensOpen) {
  const struct {
    const char* folder;
    int layers;
    int experts;
  } kCases[] = {{"golden/standard", 16, 64}, {"golden/sharded", 4, 24}};
  for (const auto& test : kCases) {
    const std::string folder = testing::DataPath(test.folder);
    if (folder.empty()) continue;
    const auto checkpoint = Checkpoint::Open(folder);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ((*checkpoint)->config().num_layers, test.layers);
    EXPECT_EQ((*checkpoint)->config().num_experts, test.experts);
    EXPECT_EQ((*checkpoint)->tensors().size(),
              3u + static_cast<size_t>(test.layers) * (9 + 3 * test.experts));
  }
}

}  // namespace
}  // namespace olmoe::model
