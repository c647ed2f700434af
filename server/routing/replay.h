// A recorded routing that rows run in place of what a rule would decide.
#ifndef OLMOE_SERVER_ROUTING_REPLAY_H_
#define OLMOE_SERVER_ROUTING_REPLAY_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "server/routing/route.h"

namespace olmoe::routing {

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
  std::vector<uint32_t> counts;   // [num_positions * num_layers], 1..num_experts
  std::vector<uint32_t> experts;  // ids, none twice in a slot
  std::vector<float> weights;     // of kRecorded: as many as experts, finite
  ReplayWeights mode = ReplayWeights::kLive;
};

// Appends one violation per field that does not suit the model: "replay.trace.counts".
void ValidateReplay(const Replay& replay, const RouterShape& shape, std::string_view prefix,
                    std::vector<FieldViolation>* violations);

// What a valid replay has for a row.
struct RecordedRow {
  std::span<const uint32_t> experts;
  std::span<const float> weights;  // of kRecorded; else empty
};
// nullopt where it does not cover the row.
std::optional<RecordedRow> RecordedAt(const Replay& replay, const RowPlace& place);

// Runs the recorded experts, in their order; the weights are the recorded ones, or those of the live
// logits under `mode`, a resolved weight mode.
RouteError ReplayRow(std::span<const float> logits, const RouterShape& shape, WeightMode mode,
                     const RecordedRow& recorded, RowRouting* out);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_REPLAY_H_
