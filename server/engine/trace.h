// From the rows of a step to what one request learns about its routing.
#ifndef OLMOE_SERVER_ENGINE_TRACE_H_
#define OLMOE_SERVER_ENGINE_TRACE_H_

#include <cstdint>
#include <span>

#include "server/engine/request.h"
#include "server/engine/token_sink.h"
#include "server/routing/record.h"

namespace olmoe::engine {

// Rows [first_row, first_row + num_rows) of a step: one chunk of a sequence, whose first row is
// `first_position` of it.
struct TracedRows {
  int first_position = 0;
  int first_row = 0;
  int num_rows = 0;
};

// The trace of these rows. Counts come with experts or weights, which are ragged without them.
// `router_logits`: [layers][num_rows][experts] as the model gives them; empty unless asked for.
RoutingTrace TraceRows(const TraceOptions& options, const TracedRows& rows,
                       const routing::RoutingRecord& record, std::span<const float> router_logits);

// (token, layer, expert) triples that these rows ran.
uint64_t ExpertActivations(const TracedRows& rows, const routing::RoutingRecord& record);

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_TRACE_H_
