// Attention and storing of keys and values per instruction set; attention.h chooses.
#ifndef OLMOE_SERVER_OPS_CPU_ATTENTION_KERNELS_H_
#define OLMOE_SERVER_OPS_CPU_ATTENTION_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "server/ops/cpu/kv_layout.h"

namespace olmoe::ops {

using StoreKvFunction = void (*)(const KvLayout& layout, const KvRows& rows);

void StoreKvPortable(const KvLayout& layout, const KvRows& rows);
void StoreKvAvx512(const KvLayout& layout, const KvRows& rows);  // bfloat16, blocked

// `scratch`: CpuAttention::scratch_bytes(), 64-byte aligned, not initialized.
using AttendFunction = void (*)(const KvLayout& layout, const AttentionRows& rows, void* scratch);

// bfloat16 and float32 keys and values.
void AttendPortable(const KvLayout& layout, const AttentionRows& rows, void* scratch);
void AttendAvx2(const KvLayout& layout, const AttentionRows& rows, void* scratch);
void AttendAvx512(const KvLayout& layout, const AttentionRows& rows, void* scratch);
// bfloat16 only, dims_unit 32. Configures the tiles and leaves them configured.
void AttendAmx(const KvLayout& layout, const AttentionRows& rows, void* scratch);

// Queries (a row and a query head) that share the reading of keys and values.
inline constexpr int kQueriesPerPass = 64;
// Positions between two updates of the running maximum.
inline constexpr int kKeyBlock = 64;

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_ATTENTION_KERNELS_H_
