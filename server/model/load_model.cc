#include "server/model/load_model.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "glog/logging.h"
#include "server/model/checkpoint.h"
#include "server/model/memory_budget.h"
#include "server/model/olmoe_model.h"
#include "server/ops/aten/aten_ops.h"
#include "server/ops/cpu/cpu_ops.h"
#include "server/util/cpu_count.h"

namespace olmoe::model {
namespace {

// Refused before anything is computed from them.
constexpr int kMaxThreads = 1024;
constexpr int kMaxPageTokens = 1024;
constexpr int kMaxBatchTokens = 1 << 16;
constexpr int64_t kMaxKvCacheBytes = int64_t{1} << 44;
constexpr int64_t kMaxPages = int64_t{1} << 30;  // PageId is int32

absl::Status OutOfRange(std::string_view option, int64_t value, int64_t min, int64_t max) {
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(option), " must be in ", min, "..", max, ", is ", value));
}

absl::Status CheckOptions(const LoadOptions& options, const OlmoeConfig& config) {
  const auto outside = [](int64_t value, int64_t min, int64_t max) {
    return value < min || value > max;
  };
  if (options.dtype != DType::kFloat32 && options.dtype != DType::kBFloat16) {
    return absl::InvalidArgumentError(absl::StrCat("dtype must be float32 or bfloat16, is ",
                                                   std::string(DTypeName(options.dtype))));
  }
  if (outside(options.threads, 0, kMaxThreads)) {
    return OutOfRange("threads", options.threads, 0, kMaxThreads);
  }
  if (outside(options.max_context, 0, config.max_positions)) {
    return OutOfRange("max_context", options.max_context, 0, config.max_positions);
  }
  if (outside(options.page_tokens, 1, kMaxPageTokens)) {
    return OutOfRange("page_tokens", options.page_tokens, 1, kMaxPageTokens);
  }
  if (outside(options.max_batch_tokens, 1, kMaxBatchTokens)) {
    return OutOfRange("max_batch_tokens", options.max_batch_tokens, 1, kMaxBatchTokens);
  }
  if (outside(options.kv_cache_bytes, 0, kMaxKvCacheBytes)) {
    return OutOfRange("kv_cache_bytes", options.kv_cache_bytes, 0, kMaxKvCacheBytes);
  }
  return absl::OkStatus();
}

int MaxContext(const LoadOptions& options, const OlmoeConfig& config) {
  return options.max_context > 0 ? options.max_context : config.max_positions;
}

// INVALID_ARGUMENT where not even one page fits.
absl::StatusOr<KvCacheShape> ShapeKvCache(const LoadOptions& options, const OlmoeConfig& config) {
  const int64_t element_bytes = static_cast<int64_t>(DTypeBytes(options.dtype));
  KvCacheShape shape;
  shape.page_tokens = options.page_tokens;
  shape.page_bytes = KvBytesPerToken(config, element_bytes) * options.page_tokens;
  const int64_t pages_of_sequence =
      (MaxContext(options, config) + options.page_tokens - 1) / options.page_tokens;
  const int64_t pages = options.kv_cache_bytes > 0 ? options.kv_cache_bytes / shape.page_bytes
                                                   : kDefaultKvSequences * pages_of_sequence;
  if (pages < 1 || pages > kMaxPages) {
    return absl::InvalidArgumentError(absl::StrCat("kv_cache_bytes of ", options.kv_cache_bytes,
                                                   " makes ", pages, " pages of ", shape.page_bytes,
                                                   " bytes; there must be 1..", kMaxPages));
  }
  shape.num_pages = static_cast<int>(pages);
  return shape;
}

ops::OpsOptions MakeOpsOptions(const LoadOptions& options, const OlmoeConfig& config,
                               const KvCacheShape& kv_cache) {
  return {.device = options.device,
          .cpu_isa = options.cpu_isa,
          .threads = options.threads > 0 ? options.threads : AvailableCores(),
          .compute = options.dtype == DType::kFloat32 ? ops::Precision::kFloat32
                                                      : ops::Precision::kBFloat16,
          .num_heads = config.num_heads,
          .num_kv_heads = config.num_kv_heads,
          .head_size = config.head_size,
          .max_positions = MaxContext(options, config),
          .rope_theta = config.rope_theta,
          .rms_norm_eps = config.rms_norm_eps,
          .page_tokens = kv_cache.page_tokens,
          .num_pages = kv_cache.num_pages};
}

ModelInfo DescribeModel(const LoadOptions& options, const Checkpoint& checkpoint,
                        const std::string& kernels) {
  const OlmoeConfig& config = checkpoint.config();
  return {.model_id = options.model_id.empty() ? ModelIdOf(options.dir) : options.model_id,
          .weights_digest = checkpoint.weights_digest(),
          .num_layers = config.num_layers,
          .num_experts = config.num_experts,
          .default_top_k = config.experts_per_token,
          .norm_topk_prob = config.norm_topk_prob,
          .hidden_size = config.hidden_size,
          .vocab_size = config.vocab_size,
          .max_context = MaxContext(options, config),
          .eos_token_id = config.eos_token_id,
          .end_token_ids = config.end_token_ids,
          .pad_token_id = config.pad_token_id,
          .device = options.device,
          .dtype = options.dtype == DType::kFloat32 ? "float32" : "bfloat16",
          .kernels = kernels};
}

// INVALID_ARGUMENT for the options, RESOURCE_EXHAUSTED for the memory of the host.
absl::StatusOr<KvCacheShape> CheckAndShape(const LoadOptions& options, const OlmoeConfig& config) {
  absl::Status status = CheckOptions(options, config);
  if (!status.ok()) return status;
  const absl::StatusOr<KvCacheShape> kv_cache = ShapeKvCache(options, config);
  if (!kv_cache.ok() || options.device != "cpu") return kv_cache;
  status =
      CheckBudget(ComputeBudget(config, static_cast<int64_t>(DTypeBytes(options.dtype)), *kv_cache,
                                MaxContext(options, config), options.max_batch_tokens),
                  AvailableHostBytes());
  if (!status.ok()) return status;
  return kv_cache;
}

template <ops::Operations Ops>
absl::StatusOr<std::unique_ptr<Model>> LoadModelOn(const LoadOptions& options,
                                                   const LoadProgress& progress) {
  const absl::StatusOr<std::unique_ptr<Checkpoint>> checkpoint = Checkpoint::Open(options.dir);
  if (!checkpoint.ok()) return checkpoint.status();
  for (const std::string& warning : (*checkpoint)->warnings()) LOG(WARNING) << warning;
  const OlmoeConfig& config = (*checkpoint)->config();
  const absl::StatusOr<KvCacheShape> kv_cache = CheckAndShape(options, config);
  if (!kv_cache.ok()) return kv_cache.status();
  absl::StatusOr<std::unique_ptr<Ops>> ops =
      Ops::Create(MakeOpsOptions(options, config, *kv_cache));
  if (!ops.ok()) return ops.status();
  // Everything that can be checked has been: now the memory, then the weights.
  typename OlmoeModel<Ops>::Parts parts;
  const absl::Status status = (*ops)->Run([&] {
    parts.weights = AllocateWeights(config, ops->get());
    for (int layer = 0; layer < config.num_layers; ++layer) {
      parts.kv_pages.push_back((*ops)->NewKvPages());
    }
    return ReadWeights(checkpoint->get(), parts.weights, ops->get(), progress);
  });
  if (!status.ok()) return status;
  parts.info = DescribeModel(options, **checkpoint, (*ops)->Name());
  parts.config = config;
  parts.kv_cache = *kv_cache;
  parts.max_batch_tokens = options.max_batch_tokens;
  parts.ops = *std::move(ops);
  parts.trace = options.trace_for_testing;
  return std::make_unique<OlmoeModel<Ops>>(std::move(parts));
}

}  // namespace

std::string ModelIdOf(const std::string& dir) {
  std::error_code ignored;
  std::filesystem::path path = std::filesystem::weakly_canonical(dir, ignored);
  if (path.filename().empty()) path = path.parent_path();
  const std::string name = path.filename().string();
  constexpr std::string_view kPrefix = "models--";
  constexpr size_t kShortCommit = 7;
  const std::string repository = path.parent_path().parent_path().filename().string();
  const bool is_commit =
      name.size() >= kShortCommit && std::all_of(name.begin(), name.end(), [](char c) {
        return absl::ascii_isxdigit(static_cast<unsigned char>(c));
      });
  if (!is_commit || path.parent_path().filename() != "snapshots" ||
      !repository.starts_with(kPrefix) || repository.size() == kPrefix.size()) {
    return name;
  }
  return absl::StrCat(absl::StrReplaceAll(repository.substr(kPrefix.size()), {{"--", "/"}}), "@",
                      name.substr(0, kShortCommit));
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const LoadOptions& options,
                                                 const LoadProgress& progress) {
  if (options.device == "cpu" && options.cpu_isa != "aten") {
    return LoadModelOn<ops::CpuOps>(options, progress);
  }
  return LoadModelOn<ops::AtenOps>(options, progress);
}

}  // namespace olmoe::model
