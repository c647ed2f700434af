#ifndef OLMOE_SERVER_OPS_ATEN_GUARD_H_
#define OLMOE_SERVER_OPS_ATEN_GUARD_H_

#include <functional>

#include "absl/status/status.h"

namespace olmoe::ops {

// Runs `body` in ATen's inference mode. The one place where an exception of LibTorch
// ends: memory -> RESOURCE_EXHAUSTED, everything else -> INTERNAL, one line.
absl::Status RunAten(const std::function<absl::Status()>& body);

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_ATEN_GUARD_H_
