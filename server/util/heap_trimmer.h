#ifndef OLMOE_SERVER_UTIL_HEAP_TRIMMER_H_
#define OLMOE_SERVER_UTIL_HEAP_TRIMMER_H_

#include <cstdint>
#include <functional>

#include "absl/time/time.h"
#include "server/util/periodic.h"

namespace olmoe {

// Gives memory back to the system that glibc's heap keeps after requests have freed it: now and
// then, while nothing runs, and only where the process has grown since the last time. (After a
// flood of resets gRPC's freed memory went from 621 to 97 MB; thresholds and arenas of malloc do
// not do it.) Thread-safe.
class HeapTrimmer {
 public:
  struct Options {
    absl::Duration period = absl::Seconds(3);
    int64_t min_growth_bytes = int64_t{16} << 20;  // of resident memory
    std::function<bool()> is_idle = [] { return true; };  // called on the trimmer's thread
  };
  explicit HeapTrimmer(Options options);

 private:
  void Trim();

  const Options options_;
  int64_t lowest_;     // resident memory since the last time; the trimmer's thread only
  Periodic periodic_;  // last: it uses everything above
};

// Of this process; 0 where it cannot be read.
int64_t ResidentBytes();

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_HEAP_TRIMMER_H_
