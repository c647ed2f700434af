#ifndef OLMOE_SERVER_MODEL_STEP_ROWS_H_
#define OLMOE_SERVER_MODEL_STEP_ROWS_H_

#include <vector>

#include "server/model/model.h"
#include "server/ops/row_batch.h"

namespace olmoe::model {

// What a batch must not exceed; CHECKed for every step.
struct StepLimits {
  int max_rows = 0;
  int max_context = 0;
  int vocab_size = 0;
  int page_tokens = 0;
  int num_pages = 0;
  routing::RouterShape router;
};

// The rows of all chunks, in batch order. A malformed batch CHECKs.
ops::RowBatch BuildRows(const StepBatch& step, const StepLimits& limits);

// A row whose logits are needed, and what for.
struct LogitRow {
  int row = 0;           // of the step
  size_t chunk = 0;
  bool sample = false;   // the last row of its chunk
  bool keep = false;     // the last row of its chunk: its logits are asked for
  int scored = -1;       // index into ChunkOutput::scored; -1: no target
};

// Empties `output` for `step` and gives every target its place in `scored`.
void PrepareOutput(const StepBatch& step, int num_layers, StepOutput* output);

// The rows of the chunks that are still OK and have something to sample, score or give
// back, in batch order.
std::vector<LogitRow> CollectLogitRows(const StepBatch& step, const StepOutput& output);

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_STEP_ROWS_H_
