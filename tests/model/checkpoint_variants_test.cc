// The same weights in the forms in which others' tools write them.
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/model/checkpoint.h"
#include "server/util/safetensors_writer.h"
#include "tests/support/synthetic_checkpoint.h"
#include "tests/support/temp_folder.h"

namespace olmoe::model {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct StoredTensor {
  std::vector<int64_t> shape;
  std::vector<uint16_t> elements;  // bfloat16
};
using StoredTensors = std::map<std::string, StoredTensor>;

// A small checkpoint that is written again after a change. Thread-compatible.
class CheckpointVariantsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::TempFolder plain;
    ASSERT_TRUE(testing::WriteSyntheticCheckpoint(plain.path(), {}).ok());
    const auto checkpoint = Checkpoint::Open(plain.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    stored_ = Load(checkpoint->get());
  }

  // Loads what the model uses.
  static StoredTensors Load(Checkpoint* checkpoint) {
    StoredTensors tensors;
    const absl::Status status = checkpoint->Load([&tensors](const TensorInfo& tensor) {
      if (tensor.role == TensorRole::kUnused) return Target{};
      const bool is_embedding = tensor.role == TensorRole::kEmbedding;
      StoredTensor& stored = tensors[is_embedding ? "model.embed_tokens.weight" : tensor.name];
      stored.shape = tensor.shape;
      stored.elements.resize(tensor.bytes / DTypeBytes(tensor.dtype));
      return Target{stored.elements.data(), DType::kBFloat16};
    });
    EXPECT_TRUE(status.ok()) << status;
    return tensors;
  }

  void Write(const StoredTensors& tensors, bool tied = false) {
    SafetensorsWriter writer;
    for (const auto& [name, tensor] : tensors) {
      writer.Add(name, DType::kBFloat16, tensor.shape, std::as_bytes(std::span(tensor.elements)));
    }
    ASSERT_TRUE(writer.Write(folder_.File("model.safetensors")).ok());
    OlmoeConfig config = testing::TinyConfig();
    config.tie_word_embeddings = tied;
    folder_.Write("config.json", testing::ConfigJson(config));
  }

  absl::StatusOr<std::unique_ptr<Checkpoint>> Open() { return Checkpoint::Open(folder_.path()); }

  // The tensors of `names` one behind the other.
  StoredTensor Joined(const std::vector<std::string>& names, std::vector<int64_t> shape) {
    StoredTensor joined{std::move(shape), {}};
    for (const std::string& name : names) {
      const std::vector<uint16_t>& part = stored_.at(name).elements;
      joined.elements.insert(joined.elements.end(), part.begin(), part.end());
    }
    return joined;
  }

  // As transformers 5 has them in memory.
  StoredTensors Fused() {
    const OlmoeConfig config = testing::TinyConfig();
    StoredTensors tensors;
    for (const auto& [name, tensor] : stored_) {
      if (!absl::StrContains(name, ".experts.")) tensors[name] = tensor;
    }
    for (int layer = 0; layer < config.num_layers; ++layer) {
      const std::string prefix = absl::StrCat("model.layers.", layer, ".mlp.experts.");
      std::vector<std::string> gate_up, down;
      for (int expert = 0; expert < config.num_experts; ++expert) {
        gate_up.push_back(absl::StrCat(prefix, expert, ".gate_proj.weight"));
        gate_up.push_back(absl::StrCat(prefix, expert, ".up_proj.weight"));
        down.push_back(absl::StrCat(prefix, expert, ".down_proj.weight"));
      }
      const int64_t experts = config.num_experts, width = config.intermediate_size,
                    hidden = config.hidden_size;
      tensors[prefix + "gate_up_proj"] = Joined(gate_up, {experts, 2 * width, hidden});
      tensors[prefix + "down_proj"] = Joined(down, {experts, hidden, width});
    }
    return tensors;
  }

  // Opens and loads; what the model uses is `expected`.
  void ExpectLoads(const StoredTensors& expected) {
    const auto checkpoint = Open();
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const StoredTensors loaded = Load(checkpoint->get());
    ASSERT_EQ(loaded.size(), expected.size());
    for (const auto& [name, tensor] : expected) {
      ASSERT_TRUE(loaded.contains(name)) << name;
      EXPECT_EQ(loaded.at(name).shape, tensor.shape) << name;
      EXPECT_EQ(loaded.at(name).elements, tensor.elements) << name;
    }
  }

  testing::TempFolder folder_;
  StoredTensors stored_;
};

TEST_F(CheckpointVariantsTest, FusedExpertsAreThoseOfThePublishedForm) {
  Write(Fused());
  ExpectLoads(stored_);
}

TEST_F(CheckpointVariantsTest, FusedExpertsOfAnotherShapeAreNamed) {
  StoredTensors tensors = Fused();
  std::vector<int64_t>& shape = tensors.at("model.layers.1.mlp.experts.gate_up_proj").shape;
  std::swap(shape[1], shape[2]);
  Write(tensors);
  EXPECT_THAT(std::string(Open().status().message()),
              AllOf(HasSubstr("tensor model.layers.1.mlp.experts.gate_up_proj: shape"),
                    HasSubstr("expected [8, ")));
}

TEST_F(CheckpointVariantsTest, ExpertsInBothFormsAreRefused) {
  StoredTensors tensors = Fused();
  const std::string twice = "model.layers.0.mlp.experts.3.up_proj.weight";
  tensors[twice] = stored_.at(twice);
  Write(tensors);
  EXPECT_THAT(std::string(Open().status().message()), HasSubstr("is there a second time"));
}

TEST_F(CheckpointVariantsTest, MissingFusedExpertsAreNamedOneByOne) {
  StoredTensors tensors = Fused();
  tensors.erase("model.layers.1.mlp.experts.down_proj");
  Write(tensors);
  EXPECT_THAT(std::string(Open().status().message()),
              HasSubstr("missing: model.layers.1.mlp.experts.0.down_proj.weight"));
}

TEST_F(CheckpointVariantsTest, RotaryFrequenciesAreIgnored) {
  StoredTensors tensors = stored_;
  tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {{3}, {1, 2, 3}};
  tensors["model.rotary_emb.inv_freq"] = {{1}, {1}};
  Write(tensors);
  ExpectLoads(stored_);
}

TEST_F(CheckpointVariantsTest, OneOfTwoTiedMatricesIsEnough) {
  StoredTensors expected = stored_;
  expected.erase("lm_head.weight");
  Write(expected, /*tied=*/true);
  ExpectLoads(expected);

  StoredTensors head_only = expected;
  head_only["lm_head.weight"] = expected.at("model.embed_tokens.weight");
  Write(head_only, /*tied=*/true);  // the same twice
  ExpectLoads(expected);
  EXPECT_TRUE((*Open())->config().tie_word_embeddings);
  EXPECT_THAT((*Open())->warnings(), IsEmpty());

  head_only.erase("model.embed_tokens.weight");
  Write(head_only, /*tied=*/true);
  ExpectLoads(expected);

  head_only.erase("lm_head.weight");
  Write(head_only, /*tied=*/true);
  EXPECT_THAT(std::string(Open().status().message()),
              HasSubstr("neither model.embed_tokens.weight nor lm_head.weight"));
}

TEST_F(CheckpointVariantsTest, TiedMatricesThatDifferAreNotTied) {
  StoredTensors tensors = stored_;
  tensors["lm_head.weight"] = tensors.at("model.embed_tokens.weight");
  tensors.at("lm_head.weight").elements.back() ^= 1;
  Write(tensors, /*tied=*/true);
  ExpectLoads(tensors);
  EXPECT_FALSE((*Open())->config().tie_word_embeddings);
  EXPECT_THAT((*Open())->warnings(), ElementsAre(AllOf(HasSubstr("config.json"),
                                                       HasSubstr("tie_word_embeddings is true"))));
}

}  // namespace
}  // namespace olmoe::model
