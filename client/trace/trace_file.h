// The routing of one sequence in a file, to be replayed.
#ifndef OLMOE_CLIENT_TRACE_TRACE_FILE_H_
#define OLMOE_CLIENT_TRACE_TRACE_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::trace {

// INVALID_ARGUMENT where the arrays of a trace are not as large as it says, or where it has none.
// The model is not known here: ids and counts are the server's to check.
absl::Status CheckTrace(const v1::RoutingTrace& trace);

// Without logits. Of a file of any kind that is told from its name or its first bytes:
//   NAME.json     a RoutingTrace in proto JSON
//   NumPy         vLLM's routed_experts: npy.h; has no weights
//   safetensors   what --trace-out writes: recording.h; of one item
// Errors: INVALID_ARGUMENT naming the file.
absl::StatusOr<v1::RoutingTrace> ReadTrace(const std::string& path);

// As NAME.json or NAME.npy; INVALID_ARGUMENT, naming the file, for other names, for what npy.h
// refuses, and where it cannot be written.
absl::Status WriteTrace(const v1::RoutingTrace& trace, const std::string& path);

}  // namespace olmoe::client::trace

#endif  // OLMOE_CLIENT_TRACE_TRACE_FILE_H_
