#ifndef OLMOE_SERVER_STATE_STATE_STORE_H_
#define OLMOE_SERVER_STATE_STATE_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/state/calibration_table.h"
#include "server/state/dir_lock.h"
#include "server/state/generation_mark.h"
#include "server/state/plan_table.h"
#include "server/state/router_table.h"
#include "server/state/sqlite.h"

namespace olmoe::state {

// What survives the process: plans with their history, the first answers to idempotency
// keys, calibrations, routers. One SQLite file, DIR/state.db, of one server at a time; beside it
// DIR/newest_generation, by which a state.db that is not the newest is noticed.
//
// The order is: store, then publish, then acknowledge. A change that returned OK is on
// the disk, whatever happens to the process or the power afterwards; one that did not has
// changed nothing, and the next one is tried afresh. (After an error of the final fsync
// the disk may hold the change all the same: it is overwritten by the next change, and
// shows only if the process ends before that.) Thread-safe.
class StateStore {
 public:
  // Creates the directory where it is missing. Errors, one line each and naming the path:
  // FAILED_PRECONDITION for a directory that another server uses or a file of another
  // version, DATA_LOSS for one that is damaged or older than what was acknowledged,
  // UNAVAILABLE where the disk refuses.
  static absl::StatusOr<std::unique_ptr<StateStore>> Open(const std::string& dir);

  PlanTable& plans() { return plans_; }
  CalibrationTable& calibrations() { return calibrations_; }
  RouterTable& routers() { return routers_; }

 private:
  StateStore(std::unique_ptr<DirLock> lock, std::unique_ptr<GenerationMark> mark,
             std::unique_ptr<Database> database);

  const std::unique_ptr<DirLock> lock_;  // released last
  const std::unique_ptr<GenerationMark> mark_;
  const std::unique_ptr<Database> database_;
  PlanTable plans_;
  CalibrationTable calibrations_;
  RouterTable routers_;
};

}  // namespace olmoe::state

#endif  // OLMOE_SERVER_STATE_STATE_STORE_H_
