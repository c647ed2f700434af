// The routing that vLLM records: `routed_experts`, a NumPy file of whole numbers
// [positions, layers, top_k] in C order, little-endian. It has no weights, and its first position
// is the sequence's.
#ifndef OLMOE_CLIENT_TRACE_NPY_H_
#define OLMOE_CLIENT_TRACE_NPY_H_

#include <string>

#include "absl/status/statusor.h"

namespace olmoe::v1 {
class RoutingTrace;
}

namespace olmoe::client::trace {

// True for bytes that begin as a NumPy file does.
bool IsNpy(const std::string& bytes);

// From the bytes of a NumPy file, format 1 to 3, of int16, int32, int64 or uint8. Errors:
// INVALID_ARGUMENT.
absl::StatusOr<v1::RoutingTrace> TraceOfNpy(const std::string& bytes);

// The bytes of a NumPy file, format 1, of int16. Errors: INVALID_ARGUMENT for a trace that is not
// consistent, that does not begin at position 0, or in which not every count is the same; naming
// position and layer.
absl::StatusOr<std::string> NpyOfTrace(const v1::RoutingTrace& trace);

}  // namespace olmoe::client::trace

#endif  // OLMOE_CLIENT_TRACE_NPY_H_
