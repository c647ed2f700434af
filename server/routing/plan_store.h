// What is kept of plans beyond the running one, and where: memory (memory_plan_store.h)
// or SQLite (server/state). Routing knows only this interface, so it stays a leaf.
#ifndef OLMOE_SERVER_ROUTING_PLAN_STORE_H_
#define OLMOE_SERVER_ROUTING_PLAN_STORE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/routing/plan.h"

namespace olmoe::routing {

// A published plan as the history knows it: enough to build it again.
struct PlanRecord {
  uint64_t generation = 0;
  std::string digest;
  PlanSpec spec;
  PlanSource source = PlanSource::kStartup;
  std::string actor;  // who published it, from the admin credential; may be empty
  absl::Time activate_time;
  absl::Time expire_time = absl::InfiniteFuture();  // infinite: it stays until replaced
  // With an expire_time: the generation that comes back then. 0: the model's own routing.
  uint64_t fallback_generation = 0;

  bool has_ttl() const { return expire_time != absl::InfiniteFuture(); }
  // fallback_generation where it is older than the plan, else 0. A damaged state may hold
  // another; followed this way, every chain of fallbacks ends.
  uint64_t older_fallback() const {
    return fallback_generation < generation ? fallback_generation : 0;
  }
};

// What an arm of a candidate plan does to the logits after a prompt, beside the model's own routing.
struct ProbeResult {
  std::string arm_id;
  double max_abs_logit_difference = 0;
  double kl_divergence_nats = 0;  // own || arm
  bool top1_changed = false;
  double mean_experts_per_token = 0;  // and layer
  uint32_t layers_covered = 0;        // whose rule or weights differ from the model's own
};

// What is told of a call that changed the plan, or would have.
struct PatchAnswer {
  PlanRecord record;       // of the current plan, after the call
  int64_t in_flight = 0;   // requests that hold it
  // The plan before the call; record's own where nothing changed.
  uint64_t previous_generation = 0;
  int64_t in_flight_on_previous = 0;
  absl::Duration swap_duration;  // how long admission was blocked
  // False: validate_only, or the same plan again (equal digest, names and notes, and no
  // time to live in either).
  bool changed = false;
  // Fields are named below "plan".
  std::vector<std::string> warnings;
  std::vector<ProbeResult> probe_results;
};

// The first answer to a request with an idempotency key.
struct KeptAnswer {
  std::string key;
  std::string request_digest;  // of all but the key
  PatchAnswer answer;          // without a swap_duration: it was kept before the swap
};

// What one patch leaves behind; stored whole or not at all.
struct PlanChange {
  std::optional<PlanRecord> plan;  // unset: the same plan again
  std::optional<KeptAnswer> answer;
  std::optional<std::string> file_digest;  // of the plan file that `plan` was read from
};

// Plans by generation, answers by key. Bounded: the oldest are forgotten, but never the
// newest plan without an expire_time, because that is where times to live end up.
// Thread-safe.
class PlanStore {
 public:
  virtual ~PlanStore() = default;

  // Durable when it returns OK; on an error nothing has changed.
  virtual absl::Status Append(const PlanChange& change) = 0;
  // Of a plan that is there (NOT_FOUND otherwise); the same promise.
  virtual absl::Status SetExpireTime(uint64_t generation, absl::Time expire_time) = 0;

  // Plans below generation `before`, newest first, at most `limit`.
  virtual absl::StatusOr<std::vector<PlanRecord>> List(uint64_t before, size_t limit) const = 0;
  // NOT_FOUND where it was never there or is forgotten.
  virtual absl::StatusOr<PlanRecord> Find(uint64_t generation) const = 0;
  virtual absl::StatusOr<std::optional<KeptAnswer>> FindAnswer(std::string_view key) const = 0;
  // The last file_digest that was appended; empty: none.
  virtual absl::StatusOr<std::string> FileDigest() const = 0;
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_PLAN_STORE_H_
