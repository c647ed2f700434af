#ifndef OLMOE_SERVER_STATE_PLAN_TABLE_H_
#define OLMOE_SERVER_STATE_PLAN_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/routing/plan_store.h"
#include "server/state/generation_mark.h"
#include "server/state/sqlite.h"

namespace olmoe::state {

// The tables plans, answers and plan_file, and the mark of the newest generation. Every
// change is one transaction. Thread-safe.
class PlanTable : public routing::PlanStore {
 public:
  static constexpr int64_t kMaxPlans = 10'000;
  static constexpr int64_t kMaxAnswers = 10'000;

  // `mark` is used under the database's mutex.
  PlanTable(Database* database, GenerationMark* mark) : database_(database), mark_(mark) {}

  absl::Status Append(const routing::PlanChange& change) override;
  absl::Status SetExpireTime(uint64_t generation, absl::Time expire_time) override;
  absl::StatusOr<std::vector<routing::PlanRecord>> List(uint64_t before,
                                                        size_t limit) const override;
  // DATA_LOSS, as List, for a row that this server cannot read.
  absl::StatusOr<routing::PlanRecord> Find(uint64_t generation) const override;
  absl::StatusOr<std::optional<routing::KeptAnswer>> FindAnswer(
      std::string_view key) const override;
  absl::StatusOr<std::string> FileDigest() const override;

 private:
  // A mark that cannot be raised refuses no plan: it is in the database, and durable.
  void RaiseMark(uint64_t generation) ABSL_EXCLUSIVE_LOCKS_REQUIRED(database_->mu());
  absl::Status InsertPlan(const routing::PlanRecord& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(database_->mu());
  absl::Status InsertAnswer(const routing::KeptAnswer& answer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(database_->mu());
  absl::Status SetFileDigest(const std::string& digest)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(database_->mu());

  Database* const database_;
  GenerationMark* const mark_;
};

}  // namespace olmoe::state

#endif  // OLMOE_SERVER_STATE_PLAN_TABLE_H_
