// Checkpoint::Load, and the generator of synthetic checkpoints.
#include "server/model/checkpoint.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/model/convert.h"
#include "server/util/sha256.h"
#include "tests/support/synthetic_checkpoint.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_data.h"

namespace olmoe::model {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::SyntheticCheckpointOptions;
using testing::TempFolder;
using testing::WriteSyntheticCheckpoint;

size_t Elements(const TensorInfo& tensor) { return tensor.bytes / DTypeBytes(tensor.dtype); }

// All tensors of a checkpoint in one dtype, by name.
template <typename Element>
using Tensors = std::map<std::string, std::vector<Element>>;

template <typename Element>
Checkpoint::Destination Into(Tensors<Element>* tensors) {
  return [tensors](const TensorInfo& tensor) {
    std::vector<Element>& elements = (*tensors)[tensor.name];
    elements.resize(Elements(tensor));
    return Target{elements.data(), sizeof(Element) == 4 ? DType::kFloat32 : DType::kBFloat16};
  };
}

template <typename Element>
Tensors<Element> LoadAll(const std::string& folder) {
  auto checkpoint = Checkpoint::Open(folder);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  Tensors<Element> tensors;
  const absl::Status status = (*checkpoint)->Load(Into(&tensors));
  EXPECT_TRUE(status.ok()) << status;
  return tensors;
}

std::string FileBytes(const std::string& folder, const std::string& name) {
  return testing::ReadFileOrDie((std::filesystem::path(folder) / name).string());
}

void MakeCheckpoint(const TempFolder& folder, const SyntheticCheckpointOptions& options) {
  const absl::Status status = WriteSyntheticCheckpoint(folder.path(), options);
  ASSERT_TRUE(status.ok()) << status;
}

// A config whose embedding takes several blocks of the reader, the last one in part.
OlmoeConfig ConfigWithALargeTensor() {
  OlmoeConfig config = testing::TinyConfig();
  config.vocab_size = 40'001;
  return config;
}

TEST(CheckpointLoadTest, GivesTheBytesOfTheFile) {
  TempFolder folder;
  MakeCheckpoint(folder, {.config = ConfigWithALargeTensor(), .num_shards = 3});
  const Tensors<uint16_t> tensors = LoadAll<uint16_t>(folder.path());
  const auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_EQ(tensors.size(), (*checkpoint)->tensors().size());
  for (const TensorInfo& tensor : (*checkpoint)->tensors()) {
    const std::string file = testing::ReadFileOrDie(tensor.file);
    ASSERT_EQ(
        std::memcmp(tensors.at(tensor.name).data(), file.data() + tensor.offset, tensor.bytes), 0)
        << tensor.name;
  }
}

TEST(CheckpointLoadTest, ConvertsBetweenDTypes) {
  const OlmoeConfig config = ConfigWithALargeTensor();
  TempFolder f32, f16, bf16;
  MakeCheckpoint(f32, {.config = config, .dtype = DType::kFloat32});
  MakeCheckpoint(f16, {.config = config, .dtype = DType::kFloat16});
  MakeCheckpoint(bf16, {.config = config, .dtype = DType::kBFloat16});
  const Tensors<float> exact = LoadAll<float>(f32.path());
  const Tensors<float> from_f16 = LoadAll<float>(f16.path());
  const Tensors<float> from_bf16 = LoadAll<float>(bf16.path());
  const Tensors<uint16_t> rounded = LoadAll<uint16_t>(f32.path());
  const Tensors<uint16_t> stored = LoadAll<uint16_t>(bf16.path());
  EXPECT_EQ(rounded, stored);  // rounded by the loader and by the generator
  for (const auto& [name, elements] : exact) {
    for (size_t i = 0; i < elements.size(); ++i) {
      ASSERT_EQ(from_bf16.at(name)[i], FloatFromBf16(stored.at(name)[i])) << name << " " << i;
      ASSERT_NEAR(from_f16.at(name)[i], elements[i], std::fabs(elements[i]) * 0x1p-11 + 0x1p-25)
          << name << " " << i;
    }
  }
}

TEST(CheckpointLoadTest, DTypesMayDifferBetweenTensorsAndBetweenTargets) {
  TempFolder folder;
  MakeCheckpoint(folder, {});
  // The router's bits as F16: another model, and as good a file.
  const std::string path = folder.File("model.safetensors");
  std::string content = testing::ReadFileOrDie(path);
  const std::string from = R"("model.layers.1.mlp.gate.weight":{"dtype":"BF16")";
  const std::string to = R"("model.layers.1.mlp.gate.weight":{"dtype":"F16" )";
  content.replace(content.find(from), from.size(), to);
  const Tensors<uint16_t> stored = LoadAll<uint16_t>(folder.path());
  folder.Write("model.safetensors", content);

  auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  Tensors<float> routers;
  Tensors<uint16_t> others;
  const absl::Status status = (*checkpoint)->Load([&](const TensorInfo& tensor) {
    return tensor.role == TensorRole::kRouter ? Into(&routers)(tensor) : Into(&others)(tensor);
  });
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(routers.size(), 2u);
  const std::string f16 = "model.layers.1.mlp.gate.weight";
  for (const auto& [name, elements] : routers) {
    for (size_t i = 0; i < elements.size(); ++i) {
      const uint16_t bits = stored.at(name)[i];
      ASSERT_EQ(elements[i], name == f16 ? FloatFromF16(bits) : FloatFromBf16(bits)) << name;
    }
  }
  for (const auto& [name, elements] : others) ASSERT_EQ(elements, stored.at(name)) << name;
}

TEST(CheckpointLoadTest, ATensorIsCompleteWhenTheNextOneIsAskedFor) {
  TempFolder folder;
  MakeCheckpoint(folder, {.config = ConfigWithALargeTensor()});
  const Tensors<uint16_t> expected = LoadAll<uint16_t>(folder.path());
  auto checkpoint = Checkpoint::Open(folder.path());
  std::vector<uint16_t> scratch(64 * 40'001);  // one piece of memory for all tensors
  std::string previous;
  int compared = 0;
  const absl::Status status = (*checkpoint)->Load([&](const TensorInfo& tensor) {
    if (!previous.empty()) {
      const std::vector<uint16_t>& elements = expected.at(previous);
      EXPECT_TRUE(std::equal(elements.begin(), elements.end(), scratch.begin())) << previous;
      ++compared;
    }
    std::fill(scratch.begin(), scratch.end(), 0xabcd);
    previous = tensor.name;
    return Target{scratch.data(), DType::kBFloat16};
  });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(static_cast<size_t>(compared) + 1, expected.size());
  const std::string content = FileBytes(folder.path(), "model.safetensors");
  EXPECT_EQ((*checkpoint)->weights_digest(), Sha256Hex(content));
}

TEST(CheckpointLoadTest, TheDigestIsThatOfTheFilesInNameOrder) {
  TempFolder folder;
  MakeCheckpoint(folder, {.config = ConfigWithALargeTensor(), .num_shards = 3});
  std::string all;
  for (const char* shard : {"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                            "model-00003-of-00003.safetensors"}) {
    all += FileBytes(folder.path(), shard);
  }
  auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->weights_digest(), "");
  // Also when nothing is kept.
  ASSERT_TRUE((*checkpoint)->Load([](const TensorInfo&) { return Target(); }).ok());
  EXPECT_EQ((*checkpoint)->weights_digest(), Sha256Hex(all));
}

TEST(CheckpointLoadTest, ProgressRisesToTheTotal) {
  TempFolder folder;
  MakeCheckpoint(folder, {.num_shards = 2});
  auto checkpoint = Checkpoint::Open(folder.path());
  std::vector<size_t> calls;
  const size_t total = (*checkpoint)->total_bytes();
  ASSERT_TRUE((*checkpoint)
                  ->Load([](const TensorInfo&) { return Target(); },
                         [&](size_t done, size_t all) {
                           EXPECT_EQ(all, total);
                           calls.push_back(done);
                         })
                  .ok());
  ASSERT_FALSE(calls.empty());
  EXPECT_TRUE(std::is_sorted(calls.begin(), calls.end()));
  EXPECT_EQ(calls.back(), total);
}

TEST(CheckpointLoadTest, AFileTruncatedWhileLoadingIsAnError) {
  TempFolder folder;
  MakeCheckpoint(folder, {.config = ConfigWithALargeTensor()});
  auto checkpoint = Checkpoint::Open(folder.path());
  const std::string path = folder.File("model.safetensors");
  bool truncated = false;
  const absl::Status status = (*checkpoint)->Load([&](const TensorInfo& tensor) {
    if (!truncated) std::filesystem::resize_file(path, tensor.offset + tensor.bytes / 2);
    truncated = true;
    return Target();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path), HasSubstr("ends at byte")));
  EXPECT_EQ((*checkpoint)->weights_digest(), "");
}

TEST(CheckpointLoadTest, AFileChangedWhileLoadingIsAnError) {
  TempFolder folder;
  MakeCheckpoint(folder, {});
  auto checkpoint = Checkpoint::Open(folder.path());
  const std::string path = folder.File("model.safetensors");
  bool changed = false;
  const absl::Status status = (*checkpoint)->Load([&](const TensorInfo&) {
    if (!changed) std::ofstream(path, std::ios::binary | std::ios::app) << "more";
    changed = true;
    return Target();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path), HasSubstr("changed")));
}

TEST(CheckpointLoadTest, AHeaderChangedAfterOpenIsAnError) {
  TempFolder folder;
  MakeCheckpoint(folder, {});
  auto checkpoint = Checkpoint::Open(folder.path());
  const std::string path = folder.File("model.safetensors");
  std::fstream(path, std::ios::binary | std::ios::in | std::ios::out).seekp(30).put('X');
  const absl::Status status = (*checkpoint)->Load([](const TensorInfo&) { return Target(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path), HasSubstr("header changed")));
}

TEST(CheckpointLoadTest, AFailedLoadCanBeRepeated) {
  TempFolder folder;
  MakeCheckpoint(folder, {});
  const std::string content = FileBytes(folder.path(), "model.safetensors");
  auto checkpoint = Checkpoint::Open(folder.path());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE((*checkpoint)->Load([](const TensorInfo&) { return Target(); }).ok());
    EXPECT_EQ((*checkpoint)->weights_digest(), Sha256Hex(content));
  }
}

TEST(CheckpointGoldenTest, TheGoldensLoad) {
  for (const char* name : {"golden/standard", "golden/sharded"}) {
    const std::string folder = testing::DataPath(name);
    if (folder.empty()) continue;
    const Tensors<float> tensors = LoadAll<float>(folder);
    // What the README says of the weights: embeddings of deviation 1, norms near 1.
    double squares = 0;
    const std::vector<float>& embedding = tensors.at("model.embed_tokens.weight");
    for (const float x : embedding) squares += double{x} * x;
    EXPECT_NEAR(squares / embedding.size(), 1, 0.05);
    for (const float x : tensors.at("model.norm.weight")) {
      EXPECT_GE(x, 0.19);
      EXPECT_LE(x, 2.5);
    }
  }
}

TEST(SyntheticCheckpointTest, TheSameSeedGivesTheSameBytesOnAnyNumberOfThreads) {
  TempFolder one, four, other;
  MakeCheckpoint(one, {.num_shards = 2, .num_threads = 1});
  MakeCheckpoint(four, {.num_shards = 2, .num_threads = 4});
  MakeCheckpoint(other, {.seed = 2, .num_shards = 2});
  const std::string shard = "model-00001-of-00002.safetensors";
  for (const auto& entry : std::filesystem::directory_iterator(one.path())) {
    const std::string name = entry.path().filename();
    EXPECT_EQ(FileBytes(one.path(), name), FileBytes(four.path(), name)) << name;
  }
  EXPECT_NE(FileBytes(one.path(), shard), FileBytes(other.path(), shard));
}

// Guards what is measured with these files, and the tests of others, against a silent
// change of the weights.
TEST(SyntheticCheckpointTest, TheBytesNeverChange) {
  TempFolder folder;
  MakeCheckpoint(folder, {});
  EXPECT_EQ(Sha256Hex(FileBytes(folder.path(), "model.safetensors")),
            "67ae460f38fd9865d24fd4e6be5374430a2caf5b6ee0f2eb09ba9b38b82c926c");
}

TEST(SyntheticCheckpointTest, TheWeightsDoNotDependOnTheShards) {
  TempFolder one, seven;
  MakeCheckpoint(one, {});
  MakeCheckpoint(seven, {.num_shards = 7});
  EXPECT_TRUE(std::filesystem::exists(seven.File("model-00007-of-00007.safetensors")));
  EXPECT_EQ(LoadAll<uint16_t>(one.path()), LoadAll<uint16_t>(seven.path()));
}

TEST(SyntheticCheckpointTest, AnyNumberOfShardsUpToTheTensorsIsKept) {
  OlmoeConfig config = testing::TinyConfig();
  config.num_layers = 1;
  config.num_experts = 2;
  config.vocab_size = 5000;  // first and last tensor hold nearly everything
  for (int shards = 1; shards <= 18; ++shards) {
    TempFolder folder;
    MakeCheckpoint(folder, {.config = config, .num_shards = shards});
    const auto checkpoint = Checkpoint::Open(folder.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    ASSERT_EQ((*checkpoint)->tensors().size(), 18u);
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
      files += entry.path().extension() == ".safetensors";
    }
    EXPECT_EQ(files, shards);
  }
}

TEST(SyntheticCheckpointTest, NoShardExceedsTheLimit) {
  TempFolder folder;
  MakeCheckpoint(folder, {.max_shard_bytes = 10'000});
  const auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  std::map<std::string, size_t> bytes;
  for (const TensorInfo& tensor : (*checkpoint)->tensors()) bytes[tensor.file] += tensor.bytes;
  EXPECT_GE(bytes.size(), 4u);
  for (const auto& [file, size] : bytes) EXPECT_LE(size, 10'000u) << file;
}

TEST(SyntheticCheckpointTest, ConfigSurvivesTheWayThroughConfigJson) {
  OlmoeConfig config = testing::TinyConfig();
  config.norm_topk_prob = true;
  config.attention_bias = true;
  config.tie_word_embeddings = true;
  config.clip_qkv = 6.5;
  config.rope_theta = 12345;
  config.rms_norm_eps = 1e-6;
  config.eos_token_id = 3;
  const auto read = OlmoeConfig::FromJson(testing::ConfigJson(config));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(testing::ConfigJson(*read), testing::ConfigJson(config));
  EXPECT_EQ(read->clip_qkv, 6.5);
  EXPECT_EQ(read->pad_token_id, std::nullopt);
}

TEST(SyntheticCheckpointTest, WeightsAreNormalWithTheScaleOfTheirRole) {
  TempFolder folder;
  MakeCheckpoint(folder, {.config = ConfigWithALargeTensor(), .dtype = DType::kFloat32});
  const Tensors<float> tensors = LoadAll<float>(folder.path());
  const std::vector<float>& embedding = tensors.at("model.embed_tokens.weight");
  double sum = 0, squares = 0, fourth = 0;
  for (const float x : embedding) {
    sum += x;
    squares += double{x} * x;
    fourth += double{x} * x * x * x;
  }
  const auto count = static_cast<double>(embedding.size());  // 1.28 million
  EXPECT_NEAR(sum / count, 0, 0.005);
  EXPECT_NEAR(squares / count, 1, 0.01);
  EXPECT_NEAR(fourth / count, 3, 0.06);  // of a normal distribution
  // Neighbours are independent.
  double products = 0;
  for (size_t i = 1; i < embedding.size(); ++i) products += double{embedding[i]} * embedding[i - 1];
  EXPECT_NEAR(products / count, 0, 0.005);
  for (const float x : tensors.at("model.layers.1.input_layernorm.weight")) {
    EXPECT_NEAR(x, 1, 0.45);
  }
}

TEST(SyntheticCheckpointTest, ACheckpointIsNotOverwritten) {
  TempFolder folder;
  MakeCheckpoint(folder, {});
  const std::string before = FileBytes(folder.path(), "model.safetensors");
  const absl::Status status = WriteSyntheticCheckpoint(folder.path(), {.seed = 2, .num_shards = 2});
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(FileBytes(folder.path(), "model.safetensors"), before);
}

TEST(SyntheticCheckpointTest, AnUnwritableFolderIsAnError) {
  TempFolder folder;
  const std::string file = folder.Write("file", "");
  EXPECT_THAT(std::string(WriteSyntheticCheckpoint(file, {}).message()), HasSubstr(file));
  SyntheticCheckpointOptions options;
  options.tokenizer_file = folder.File("absent.json");
  EXPECT_THAT(std::string(WriteSyntheticCheckpoint(folder.path(), options).message()),
              HasSubstr("absent.json"));
}

}  // namespace
}  // namespace olmoe::model
