#ifndef OLMOE_SERVER_STATE_GENERATION_MARK_H_
#define OLMOE_SERVER_STATE_GENERATION_MARK_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace olmoe::state {

// The newest generation that was acknowledged, in a small file beside the database: so a
// database that was lost, emptied or replaced by an older copy is noticed. It is raised
// after a plan is in the database and before the plan is acknowledged; whenever the
// process or the power ends, the database holds at least this generation.
// Thread-compatible.
class GenerationMark {
 public:
  // Reads the file. One that is not readable is told in the log and counts as none.
  explicit GenerationMark(std::string path);

  const std::string& path() const { return path_; }
  uint64_t generation() const { return generation_; }  // 0: none

  // Replaces the file, which holds the old or the new generation at every moment and has
  // reached the disk on return. A generation that is not newer is ignored. UNAVAILABLE
  // where the disk refuses: the mark is lower than it could be, which is no error of the
  // database.
  absl::Status Raise(uint64_t generation);

 private:
  const std::string path_;
  uint64_t generation_ = 0;
};

}  // namespace olmoe::state

#endif  // OLMOE_SERVER_STATE_GENERATION_MARK_H_
