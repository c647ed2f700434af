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
    : options_(std::move(options)),
      lowest_(ResidentBytes()),
      periodic_(options_.period, [this] { Trim(); }) {}

void HeapTrimmer::Trim() {
  const int64_t resident = ResidentBytes();
  lowest_ = std::min(lowest_, resident);
  if (resident - lowest_ < options_.min_growth_bytes || !options_.is_idle()) return;
  malloc_trim(0);
  lowest_ = ResidentBytes();
}

}  // namespace olmoe
