#ifndef OLMOE_SERVER_OPS_ATEN_WEIGHT_MEMORY_H_
#define OLMOE_SERVER_OPS_ATEN_WEIGHT_MEMORY_H_

#include <ATen/core/Tensor.h>

namespace olmoe::ops {

// A tensor that lives as long as the model, not initialized. On the CPU it is
// memory of its own in 2 MiB pages: weights are streamed once a step, and with
// 4 KiB pages the address translation costs up to an eighth of the bandwidth.
at::Tensor NewWeight(at::IntArrayRef sizes, const at::TensorOptions& options);

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_ATEN_WEIGHT_MEMORY_H_
