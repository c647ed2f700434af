#include "server/model/memory_budget.h"

#include <algorithm>
#include <fstream>
#include <string>

#include "absl/strings/str_format.h"

namespace olmoe::model {
namespace {

int64_t ParametersOfLayer(const OlmoeConfig& config) {
  const int64_t hidden = config.hidden_size;
  const int64_t query = static_cast<int64_t>(config.num_heads) * config.head_size;
  const int64_t key_value = static_cast<int64_t>(config.num_kv_heads) * config.head_size;
  const int64_t attention = hidden * (2 * query + 2 * key_value);
  const int64_t experts = int64_t{3} * config.num_experts * config.intermediate_size * hidden;
  return attention + experts;
}

// One number in a file; empty where there is no such file, or "max".
std::optional<int64_t> ReadNumber(const std::string& path) {
  std::ifstream file(path);
  int64_t number = 0;
  if (!(file >> number)) return std::nullopt;
  return number;
}

// The number after `key` in a file of lines "key number ...".
std::optional<int64_t> ReadNumberOf(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string name, rest;
  int64_t number = 0;
  while (file >> name >> number) {
    if (name == key) return number;
    std::getline(file, rest);
  }
  return std::nullopt;
}

std::optional<int64_t> MachineAvailableBytes() {
  const std::optional<int64_t> kib = ReadNumberOf("/proc/meminfo", "MemAvailable:");
  return kib.has_value() ? std::optional<int64_t>(*kib * 1024) : std::nullopt;
}

std::optional<int64_t> ControlGroupAvailableBytes() {
  const std::optional<int64_t> limit = ReadNumber("/sys/fs/cgroup/memory.max");
  const std::optional<int64_t> used = ReadNumber("/sys/fs/cgroup/memory.current");
  if (!limit.has_value() || !used.has_value()) return std::nullopt;
  // Cached files count as used, and make room when memory is needed.
  const int64_t cached = ReadNumberOf("/sys/fs/cgroup/memory.stat", "file").value_or(0);
  return std::max<int64_t>(*limit - *used + cached, 0);
}

double Gib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

}  // namespace

int64_t KvBytesPerToken(const OlmoeConfig& config, int64_t element_bytes) {
  return int64_t{2} * config.num_layers * config.num_kv_heads * config.head_size * element_bytes;
}

MemoryBudget ComputeBudget(const OlmoeConfig& config, int64_t element_bytes,
                           const KvCacheShape& kv_cache, int max_context, int max_batch_tokens) {
  const int64_t hidden = config.hidden_size;
  const int64_t vocabulary = config.vocab_size;
  const int64_t embeddings = (config.tie_word_embeddings ? 1 : 2) * vocabulary * hidden;
  const int64_t routers = int64_t{config.num_layers} * config.num_experts * hidden;  // float32
  MemoryBudget budget;
  budget.weight_bytes =
      element_bytes * (config.num_layers * ParametersOfLayer(config) + embeddings) +
      int64_t{4} * (routers + (4 * int64_t{config.num_layers} + 1) * hidden);
  budget.kv_cache_bytes = kv_cache.page_bytes * kv_cache.num_pages;

  const int64_t rows = max_batch_tokens;
  constexpr int64_t kQueryRows = 128;
  constexpr int64_t kHeadRows = 64;
  const int64_t slot = element_bytes * (2 * hidden + 3 * int64_t{config.intermediate_size});
  const int64_t experts = rows * config.num_experts * slot;
  const int64_t attention =
      int64_t{4} * max_context *
      (2 * kQueryRows * config.num_heads + 3 * int64_t{config.num_kv_heads} * config.head_size);
  const int64_t head = kHeadRows * vocabulary * (4 + element_bytes);
  const int64_t residual = int64_t{4} * rows * hidden * 8;
  budget.workspace_bytes = std::max({experts, attention, head}) + residual;
  return budget;
}

std::optional<int64_t> AvailableHostBytes() {
  const std::optional<int64_t> machine = MachineAvailableBytes();
  const std::optional<int64_t> group = ControlGroupAvailableBytes();
  if (machine.has_value() && group.has_value()) return std::min(*machine, *group);
  return machine.has_value() ? machine : group;
}

absl::Status CheckBudget(const MemoryBudget& budget, std::optional<int64_t> available_bytes) {
  if (!available_bytes.has_value() || budget.total_bytes() <= *available_bytes) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(absl::StrFormat(
      "the model needs %.2f GiB (weights %.2f, KV cache %.2f, workspace %.2f), %.2f GiB of memory "
      "are available",
      Gib(budget.total_bytes()), Gib(budget.weight_bytes), Gib(budget.kv_cache_bytes),
      Gib(budget.workspace_bytes), Gib(*available_bytes)));
}

}  // namespace olmoe::model
