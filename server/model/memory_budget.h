#ifndef OLMOE_SERVER_MODEL_MEMORY_BUDGET_H_
#define OLMOE_SERVER_MODEL_MEMORY_BUDGET_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "server/model/config.h"
#include "server/model/model.h"

namespace olmoe::model {

// What a model takes. Sums are exact for weights and cache; the workspace is an upper
// bound of what one step holds besides: every row with every expert, the longest
// context.
struct MemoryBudget {
  int64_t weight_bytes = 0;
  int64_t kv_cache_bytes = 0;
  int64_t workspace_bytes = 0;

  int64_t total_bytes() const { return weight_bytes + kv_cache_bytes + workspace_bytes; }
};

// `element_bytes`: 2 or 4, of weights and KV cache.
MemoryBudget ComputeBudget(const OlmoeConfig& config, int64_t element_bytes,
                           const KvCacheShape& kv_cache, int max_context, int max_batch_tokens);

// Bytes of the keys and values of one position in all layers.
int64_t KvBytesPerToken(const OlmoeConfig& config, int64_t element_bytes);

// What this process can still take: free and reclaimable memory of the machine, and no
// more than its control group allows. Empty where the system does not say.
std::optional<int64_t> AvailableHostBytes();

// RESOURCE_EXHAUSTED with all the sizes if the budget is larger than `available_bytes`.
absl::Status CheckBudget(const MemoryBudget& budget, std::optional<int64_t> available_bytes);

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_MEMORY_BUDGET_H_
