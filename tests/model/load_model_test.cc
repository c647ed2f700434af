#include "server/model/load_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "server/model/memory_budget.h"
#include "tests/model/kernel_names.h"
#include "tests/support/synthetic_checkpoint.h"
#include "tests/support/temp_folder.h"

namespace olmoe::model {
namespace {

using ::testing::HasSubstr;

class LoadModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(testing::WriteSyntheticCheckpoint(folder_.path(), synthetic_).ok());
    options_.dir = folder_.path();
    options_.threads = 1;
  }

  absl::Status LoadStatus() { return LoadModel(options_).status(); }

  testing::TempFolder folder_;
  testing::SyntheticCheckpointOptions synthetic_;
  LoadOptions options_;
};

TEST_F(LoadModelTest, DescribesTheModel) {
  options_.dir = folder_.path() + "/";
  options_.max_context = 40;
  options_.page_tokens = 8;
  size_t done = 0, total = 1;
  const auto model = LoadModel(options_, [&](size_t bytes_done, size_t bytes_total) {
    done = bytes_done;
    total = bytes_total;
  });
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(done, total);
  const ModelInfo& info = (*model)->info();
  EXPECT_EQ(info.model_id, std::filesystem::path(folder_.path()).filename());
  EXPECT_EQ(info.weights_digest.size(), 64u);
  EXPECT_EQ(info.router_shape(), synthetic_.config.router_shape());
  EXPECT_EQ(info.vocab_size, synthetic_.config.vocab_size);
  EXPECT_EQ(info.hidden_size, synthetic_.config.hidden_size);
  EXPECT_EQ(info.max_context, 40);
  EXPECT_EQ(info.device, "cpu");
  EXPECT_EQ(info.dtype, "bfloat16");
  // By default four sequences of the full context; bytes of keys and values in bf16.
  const KvCacheShape& kv = (*model)->kv_cache();
  EXPECT_EQ(kv.page_tokens, 8);
  EXPECT_EQ(kv.num_pages, kDefaultKvSequences * 5);
  EXPECT_EQ(kv.page_bytes, KvBytesPerToken(synthetic_.config, 2) * 8);
}

TEST_F(LoadModelTest, KvCacheTakesWholePagesOfWhatItIsGiven) {
  options_.dtype = DType::kFloat32;
  const int64_t page_bytes = KvBytesPerToken(synthetic_.config, 4) * options_.page_tokens;
  options_.kv_cache_bytes = 7 * page_bytes + page_bytes / 2;
  const auto model = LoadModel(options_);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->kv_cache().num_pages, 7);
  EXPECT_EQ((*model)->info().dtype, "float32");
  options_.kv_cache_bytes = page_bytes - 1;
  EXPECT_EQ(LoadStatus().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(LoadModelTest, RefusesOptionsByName) {
  const auto refused = [&](auto change, const char* name) {
    const LoadOptions before = options_;
    change(&options_);
    const absl::Status status = LoadStatus();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(status.message(), HasSubstr(name));
    options_ = before;
  };
  refused([](LoadOptions* o) { o->dtype = DType::kFloat16; }, "dtype");
  refused([](LoadOptions* o) { o->threads = -1; }, "threads");
  refused([](LoadOptions* o) { o->threads = 1 << 20; }, "threads");
  refused([](LoadOptions* o) { o->max_context = -5; }, "max_context");
  refused([](LoadOptions* o) { o->max_context = 1 << 30; }, "max_context");
  refused([](LoadOptions* o) { o->page_tokens = 0; }, "page_tokens");
  refused([](LoadOptions* o) { o->max_batch_tokens = 0; }, "max_batch_tokens");
  refused([](LoadOptions* o) { o->kv_cache_bytes = -1; }, "kv_cache_bytes");
  refused([](LoadOptions* o) { o->device = "toaster"; }, "toaster");
  refused([](LoadOptions* o) { o->device = ""; }, "device");
  refused([](LoadOptions* o) { o->cpu_isa = "sse9"; }, "cpu_isa \"sse9\"");
}

TEST_F(LoadModelTest, SaysWhichKernelsCompute) {
  for (const std::string& kernels : KernelNames()) {
    options_.cpu_isa = kernels;
    const auto model = LoadModel(options_);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ((*model)->info().kernels, kernels);
  }
  options_.cpu_isa = "auto";
  const auto model = LoadModel(options_);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->info().kernels, KernelNames().back()) << "not the best";
}

TEST_F(LoadModelTest, ADeviceThatIsNotThereIsRefusedInOneLine) {
  options_.device = "cuda:7";  // no machine of the tests has eight
  const absl::Status status = LoadStatus();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("cuda:7"));
  EXPECT_THAT(status.message(), ::testing::Not(HasSubstr("\n")));
  EXPECT_LT(status.message().size(), 300u) << status;
}

TEST_F(LoadModelTest, ADeviceThatIsNoneIsRefusedWithThoseThatThereAre) {
  for (const char* device : {"", "CPU", "cuda:", "cuda:x", "cuda:-1", "cpu:1", "meta", "vulkan"}) {
    options_.device = device;
    const absl::Status status = LoadStatus();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(status.message(), HasSubstr("is none of cpu, cuda")) << status;
  }
}

TEST_F(LoadModelTest, RefusesBeforeMemoryIsTaken) {
  options_.kv_cache_bytes = int64_t{1} << 40;  // 1 TiB
  const absl::Status status = LoadStatus();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("KV cache 1024.00"));
}

TEST_F(LoadModelTest, AFolderWithoutAModelIsNotFound) {
  options_.dir = folder_.path() + "/absent";
  EXPECT_FALSE(LoadStatus().ok());
}

TEST(ModelIdTest, IsTheFoldersNameOrThatOfTheRepositoryInTheCacheOfTheHub) {
  const std::string commit = "0123456789abcdef0123456789abcdef01234567";
  EXPECT_EQ(ModelIdOf("/models/olmoe"), "olmoe");
  EXPECT_EQ(ModelIdOf("/models/olmoe/"), "olmoe");
  EXPECT_EQ(ModelIdOf("/hub/models--allenai--OLMoE-1B/snapshots/" + commit),
            "allenai/OLMoE-1B@0123456");
  EXPECT_EQ(ModelIdOf("/hub/models--allenai--OLMoE-1B/snapshots/" + commit + "/"),
            "allenai/OLMoE-1B@0123456");
  EXPECT_EQ(ModelIdOf("/hub/models--olmoe/snapshots/" + commit), "olmoe@0123456");
  // Not of the cache.
  EXPECT_EQ(ModelIdOf("/hub/models--a--b/snapshots/main"), "main");
  EXPECT_EQ(ModelIdOf("/hub/models--a--b/blobs/" + commit), commit);
  EXPECT_EQ(ModelIdOf("/hub/datasets--a--b/snapshots/" + commit), commit);
  EXPECT_EQ(ModelIdOf("/hub/snapshots/" + commit), commit);
}

TEST_F(LoadModelTest, IsCalledWhatTheOptionsSay) {
  options_.model_id = "my model";
  const auto model = LoadModel(options_);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->info().model_id, "my model");
}

TEST(MemoryBudget, IsThatOfThePublishedModel) {
  KvCacheShape kv;
  kv.page_bytes = 16 * KvBytesPerToken(testing::PublishedConfig(), 2);
  kv.num_pages = 1024;
  EXPECT_EQ(kv.page_bytes, 16 * 128 * 1024);  // 128 KiB a token
  const MemoryBudget budget = ComputeBudget(testing::PublishedConfig(), 2, kv, 4096, 512);
  // 6.92 G parameters, of which the routers and norms are float32.
  EXPECT_NEAR(static_cast<double>(budget.weight_bytes), 2 * 6.92e9, 0.02e9);
  EXPECT_EQ(budget.kv_cache_bytes, int64_t{2} << 30);
  EXPECT_LT(budget.workspace_bytes, int64_t{1} << 30);
}

TEST(MemoryBudget, NamesTheSizesThatDoNotFit) {
  const MemoryBudget budget{.weight_bytes = int64_t{3} << 30,
                            .kv_cache_bytes = int64_t{2} << 30,
                            .workspace_bytes = int64_t{1} << 29};
  EXPECT_TRUE(CheckBudget(budget, int64_t{6} << 30).ok());
  EXPECT_TRUE(CheckBudget(budget, std::nullopt).ok());
  EXPECT_EQ(CheckBudget(budget, int64_t{5} << 30).message(),
            "the model needs 5.50 GiB (weights 3.00, KV cache 2.00, workspace 0.50), 5.00 GiB of "
            "memory are available");
}

TEST(MemoryBudget, TheMachineSaysWhatItHas) {
  const std::optional<int64_t> available = AvailableHostBytes();
  ASSERT_TRUE(available.has_value());
  EXPECT_GT(*available, int64_t{1} << 26);
}

}  // namespace
}  // namespace olmoe::model
