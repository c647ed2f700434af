#include "server/engine/prefill_budget.h"

#include <algorithm>

namespace olmoe::engine {

PrefillBudget::PrefillBudget(int max_rows, absl::Duration target)
    : max_rows_(max_rows), target_(target), rows_(max_rows) {}

void PrefillBudget::OnSharedStep(int rows, absl::Duration step_time) {
  if (target_ <= absl::ZeroDuration()) return;
  constexpr double kMaxChange = 2;
  const double headroom =
      std::clamp(absl::FDivDuration(target_, std::max(step_time, absl::Nanoseconds(1))),
                 1 / kMaxChange, kMaxChange);
  // A step that left some of the budget unused does not tell what the rest would have cost.
  if (headroom > 1 && rows < this->rows()) return;
  const double least = std::min(kMinRows, max_rows_);
  rows_ = std::clamp(rows_ * headroom, least, static_cast<double>(max_rows_));
}

}  // namespace olmoe::engine
