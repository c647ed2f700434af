// The probe of PatchRouters: what the arms of a candidate plan do to a prompt, before any request
// gets them.
#ifndef OLMOE_SERVER_EXPERIMENT_PROBE_H_
#define OLMOE_SERVER_EXPERIMENT_PROBE_H_

#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/experiment/serving.h"
#include "server/routing/plan.h"
#include "server/routing/plan_store.h"
#include "server/util/token_id.h"

namespace olmoe::experiment {

// Other patches wait for a probe, so its prompt and its time are bounded.
inline constexpr size_t kMaxProbeTokens = 256;
inline constexpr absl::Duration kMaxProbeTime = absl::Minutes(2);

struct ProbeInput {
  std::vector<TokenId> prompt;  // 1..kMaxProbeTokens
  bool require_change = false;
};

// How the logits of one position differ from those of the model's own routing.
struct LogitDifference {
  double max_abs = 0;
  double kl_nats = 0;  // own || other
  bool top1_changed = false;
  bool identical = true;  // bit for bit
};
// `own`, `other`: finite, [vocab_size].
LogitDifference CompareLogits(std::span<const float> own, std::span<const float> other);

// Scores the prompt with the model's own routing and with each arm of `candidate`, one after the
// other, as requests of the arm "probe" that hold no plan; one result per arm, in their order.
// Errors: those of the engine (queue full, draining, the deadline); FAILED_PRECONDITION
// (PROBE_UNCHANGED, one violation "arms/<id>" per arm) where require_change is set and an arm whose
// rule differs from the model's own has bit-identical logits. Waits for the engine: neither its
// thread nor one of gRPC's may call this.
absl::StatusOr<std::vector<routing::ProbeResult>> RunProbe(const routing::RoutingPlan& candidate,
                                                           const ProbeInput& input,
                                                           absl::Time deadline,
                                                           const Serving& serving);

}  // namespace olmoe::experiment

#endif  // OLMOE_SERVER_EXPERIMENT_PROBE_H_
