// A recorded routing that rows run in place of what a rule would decide.
#ifndef OLMOE_SERVER_ROUTING_REPLAY_H_
#define OLMOE_SERVER_ROUTING_REPLAY_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/routing/route.h"

namespace olmoe::routing {

class RoutingPolicy;  // policy.h

// The policy id of replayed requests, whatever routes what the recording does not cover.
inline constexpr char kReplayPolicyId[] = "replay";

enum class ReplayWeights {
  kLive,      // softmax of the live logits over all experts, at the recorded ones
  kRecorded,  // those of the trace
};

// The slot of (position, layer) is (position - first_position) * num_layers + layer; its experts
// stand behind those of all slots before.
struct Replay {
  uint64_t first_position = 0;
  uint64_t num_positions = 0;
  uint64_t num_layers = 0;
  std::vector<uint8_t> counts;   // [num_positions * num_layers], 1..num_experts
  std::vector<uint8_t> experts;  // ids, none twice in a slot
  std::vector<float> weights;    // of kRecorded: as many as experts, finite
  ReplayWeights mode = ReplayWeights::kLive;
};

// Appends one violation per field that does not suit the model: "replay.trace.counts".
void ValidateReplay(const Replay& replay, const RouterShape& shape, std::string_view prefix,
                    std::vector<FieldViolation>* violations);

// What a valid replay has for a row.
struct RecordedRow {
  std::span<const uint8_t> experts;
  std::span<const float> weights;  // of kRecorded; else empty
};

// A valid replay that can run: it knows where the experts of a row are. A request holds one.
// Immutable: thread-safe.
class RecordedRouting {
 public:
  // REQUIRES: ValidateReplay finds nothing.
  explicit RecordedRouting(Replay replay);

  // nullopt where it does not cover the row.
  std::optional<RecordedRow> At(const RowPlace& place) const;

  uint64_t num_layers() const { return replay_.num_layers; }
  // SHA-256, lower-case hex, of first_position, num_positions and num_layers as uint32
  // little-endian, then counts, experts and, of kRecorded, weights.
  const std::string& digest() const { return digest_; }
  size_t bytes() const;  // on the heap, about

 private:
  const Replay replay_;
  std::vector<uint64_t> first_expert_;  // [num_positions] of the position's first slot
  std::string digest_;
};

// Runs the recorded experts, in their order; the weights are the recorded ones, or those of the live
// logits under `mode`, a resolved weight mode.
RouteError ReplayRow(std::span<const float> logits, const RouterShape& shape, WeightMode mode,
                     const RecordedRow& recorded, RowRouting* out);

// Routes a row of a request: as `recorded`, which may be null, where that covers it, with the
// weight mode that `policy` has for the row; else by `policy`. What else the policy says does not
// touch recorded rows: nothing is analyzed there.
RouteError RouteRequestRow(const RoutingPolicy& policy, const RecordedRouting* recorded,
                           const RowPlace& place, std::span<const float> logits, RowRouting* out);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_REPLAY_H_
