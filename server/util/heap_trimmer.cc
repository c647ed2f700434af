#include "server/util/heap_trimmer.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <utility>

namespace olmoe {

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t all_pages = 0, resident_pages = 0;
  file >> all_pages >> resident_pages;
  return resident_pages * sysconf(_SC_PAGESIZE);
}

HeapTrimmer::HeapTrimmer(Options options)
    : options_(std::move(options)), thread_([this] { Run(); }) {}

HeapTrimmer::~HeapTrimmer() {
  {
    absl::MutexLock lock(&mu_);
    stop_ = true;
  }
  thread_.join();
}

void HeapTrimmer::Run() {
  int64_t lowest = ResidentBytes();  // since the last time
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      if (mu_.AwaitWithTimeout(absl::Condition(&stop_), options_.period)) return;
    }
    const int64_t resident = ResidentBytes();
    lowest = std::min(lowest, resident);
    if (resident - lowest < options_.min_growth_bytes || !options_.is_idle()) continue;
    malloc_trim(0);
    lowest = ResidentBytes();
  }
}

}  // namespace olmoe
