#ifndef OLMOE_CLIENT_TRACE_RECORDING_H_
#define OLMOE_CLIENT_TRACE_RECORDING_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/routing/route.h"

namespace olmoe::v1 {
class GetModelInfoResponse;
class RoutingStamp;
class RoutingTrace;
class TraceOptions;
}  // namespace olmoe::v1

namespace olmoe::client::trace {

// Asks for all that a Recording has.
void AskForTrace(v1::TraceOptions* trace);

// INTERNAL where a reply's trace does not have, for a model of this shape, all of `asked`, which
// has experts.
absl::Status CheckWhole(const v1::RoutingTrace& trace, const routing::RouterShape& shape,
                        const v1::TraceOptions& asked);

// What the routers did for one request: a safetensors file of ragged arrays. One row
// is one position of one item (Generate has one item, Score as many as were asked for).
//
//   offsets   I64 [rows * layers + 1]  where row r, layer l has its experts:
//                                      experts[offsets[r * layers + l] : offsets[... + 1]]
//   weights   F32 [selections]         of these experts
//   logits    F32 [rows, layers, num_experts]  raw router logits
//   tokens    I32 [rows]               the token at the row's position
//   positions I32 [rows]               in its sequence, 0-based
//   items     I32 [rows]
//   counts    U8  [rows, layers]       experts that ran
//   experts   U8  [selections]         by descending logit
//
// The metadata are strings: format ("olmoe-routing-trace-1"), layout, model_id,
// weights_digest, server_version, dtype, num_layers, num_experts, default_top_k,
// norm_topk_prob ("true" or "false"), generation, arm_id, policy_id, policy_digest.
// Thread-compatible.
struct Recording {
  routing::RouterShape shape;
  std::map<std::string, std::string> metadata;
  std::vector<int32_t> tokens, positions, items;  // [rows]
  std::vector<uint8_t> counts;                    // [rows * layers]
  std::vector<int64_t> offsets = {0};             // [rows * layers + 1]
  std::vector<uint8_t> experts;                   // [selections]
  std::vector<float> weights;                     // [selections]
  std::vector<float> logits;                      // [rows * layers * num_experts]

  size_t num_rows() const { return tokens.size(); }
  // Row-major: slot = row * num_layers + layer.
  std::span<const uint8_t> ExpertsOf(size_t slot) const;
  std::span<const float> LogitsOf(size_t slot) const;

  // Of an empty recording: the model, and what routed the request.
  void Describe(const v1::GetModelInfoResponse& model, const v1::RoutingStamp& stamp);
  // Appends rows; `tokens`: one a position. INTERNAL where the trace is not whole: all of
  // experts, weights and logits.
  absl::Status Append(const v1::RoutingTrace& trace, int32_t item,
                      std::span<const int32_t> row_tokens);

  absl::Status Write(const std::string& path) const;
  // Errors: INVALID_ARGUMENT naming the file.
  static absl::StatusOr<Recording> Read(const std::string& path);
};

}  // namespace olmoe::client::trace

#endif  // OLMOE_CLIENT_TRACE_RECORDING_H_
