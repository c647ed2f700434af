#ifndef OLMOE_SERVER_OPS_CPU_FOR_ROWS_H_
#define OLMOE_SERVER_OPS_CPU_FOR_ROWS_H_

#include <algorithm>
#include <cstdint>

#include "server/ops/cpu/compute_pool.h"

namespace olmoe::ops {

// body(row) for 0 <= row < rows, each on `columns` numbers: by the caller alone where
// the whole is less than what waking another thread costs.
template <typename Body>
void ForRows(ComputePool* pool, int64_t rows, int64_t columns, const Body& body) {
  constexpr int64_t kNumbersOfTask = 16 << 10;  // some microseconds
  const int64_t rows_of_task = std::max<int64_t>(1, kNumbersOfTask / std::max<int64_t>(1, columns));
  const int64_t tasks = (rows + rows_of_task - 1) / rows_of_task;
  pool->Run(static_cast<int>(tasks), [&](int task) {
    const int64_t end = std::min(rows, (task + 1) * rows_of_task);
    for (int64_t row = task * rows_of_task; row < end; ++row) body(row);
  });
}

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_FOR_ROWS_H_
