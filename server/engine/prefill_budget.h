#ifndef OLMOE_SERVER_ENGINE_PREFILL_BUDGET_H_
#define OLMOE_SERVER_ENGINE_PREFILL_BUDGET_H_

#include "absl/time/time.h"

namespace olmoe::engine {

// How many rows of prompts and windows may share a step with decoding rows, so that the step, and
// with it the time between two tokens of every running completion, keeps to a target.
//
// A feedback controller and no cost model: what a step costs depends on the machine, on the context
// and on the experts that the policies pick, and can change with the next patch. A step that took
// r times the target shrinks the budget by r, at most to a half; one that used the whole budget and
// was faster than the target lets it grow in the same way, at most to the double. So it halves its
// way from 512 to 32 rows in four steps, and a single slow step of a busy machine costs little. At
// least kMinRows are always allowed: prompts get on even where decoding alone misses the target.
//
// Thread-compatible.
class PrefillBudget {
 public:
  static constexpr int kMinRows = 16;

  // `target` of zero: always max_rows.
  PrefillBudget(int max_rows, absl::Duration target);

  int rows() const { return static_cast<int>(rows_); }

  // A step that had decoding rows and `rows` >= 1 others took `step_time`.
  void OnSharedStep(int rows, absl::Duration step_time);

 private:
  const int max_rows_;
  const absl::Duration target_;
  double rows_;
};

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_PREFILL_BUDGET_H_
