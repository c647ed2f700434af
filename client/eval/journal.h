#ifndef OLMOE_CLIENT_EVAL_JOURNAL_H_
#define OLMOE_CLIENT_EVAL_JOURNAL_H_

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/eval/result.h"

namespace olmoe::client::eval {

// The units that are done, by key: a hash of everything that their numbers depend on. On
// disk it is one line of JSON a unit, appended when the unit is done, so an evaluation
// that was interrupted, however, goes on where it stopped; a line that was cut off is
// dropped. Numbers are written so that they read back exactly. Counts of experts stay on disk. One
// process at a time. Thread-compatible.
class Journal {
 public:
  // In memory only.
  Journal() = default;
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // Errors: INVALID_ARGUMENT naming the file: it cannot be opened, another process has it,
  // or it is no journal.
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const std::string& path);

  // Null where the unit is not done.
  const UnitResult* Find(const std::string& key) const;
  // Adds the counts that the unit was added with to `counts`; false where it has none of that size.
  bool AddExpertsOf(const std::string& key, ExpertCounts* counts) const;
  // `data` and `policy`: names, for people who read the file. `experts`: empty, or counts to keep,
  // which only a journal on disk does.
  absl::Status Add(const std::string& key, const std::string& data, const std::string& policy,
                   const UnitResult& result, const ExpertCounts& experts = {});

 private:
  // Where a line with counts of experts stands in the file; size 0: it has none.
  struct Line {
    size_t start = 0, size = 0;
  };
  struct Entry {
    UnitResult result;
    Line experts;
  };
  absl::Status Load();

  std::string path_;
  int fd_ = -1;      // -1: in memory only
  size_t size_ = 0;  // of the file
  std::map<std::string, Entry> entries_;
};

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_JOURNAL_H_
