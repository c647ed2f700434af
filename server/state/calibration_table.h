#ifndef OLMOE_SERVER_STATE_CALIBRATION_TABLE_H_
#define OLMOE_SERVER_STATE_CALIBRATION_TABLE_H_

#include <memory>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/routing/calibration.h"
#include "server/state/sqlite.h"

namespace olmoe::state {

// The tables calibrations and calibration_layers: every table bit for bit, so a digest
// is the same after a restart. Every change is one transaction. Thread-safe.
class CalibrationTable {
 public:
  explicit CalibrationTable(Database* database) : database_(database) {}

  // Durable when it returns OK; on an error nothing has changed. A name that is there is
  // replaced: whether it may be is for routing::CalibrationSet to say.
  absl::Status Put(const routing::Calibration& calibration);
  // Not there: OK.
  absl::Status Delete(std::string_view calibration_id);
  // By name, ascending. DATA_LOSS where one does not have its digest.
  absl::StatusOr<std::vector<std::shared_ptr<const routing::Calibration>>> LoadAll() const;

 private:
  absl::Status InsertLayers(const routing::Calibration& calibration)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(database_->mu());
  absl::Status DeleteRows(std::string_view calibration_id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(database_->mu());
  absl::Status LoadLayers(routing::Calibration::Options* options) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(database_->mu());

  Database* const database_;
};

}  // namespace olmoe::state

#endif  // OLMOE_SERVER_STATE_CALIBRATION_TABLE_H_
