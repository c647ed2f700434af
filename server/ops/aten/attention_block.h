#ifndef OLMOE_SERVER_OPS_ATEN_ATTENTION_BLOCK_H_
#define OLMOE_SERVER_OPS_ATEN_ATTENTION_BLOCK_H_

#include <cstdint>

namespace olmoe::ops {

// Query rows that attend together. It bounds the attention logits in memory to
// [heads, kQueryBlock, context], and a block skips the keys after its last row.
inline constexpr int64_t kQueryBlock = 128;

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_ATEN_ATTENTION_BLOCK_H_
