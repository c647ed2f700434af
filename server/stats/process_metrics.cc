#include "server/stats/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "server/stats/metric_family.h"

namespace olmoe::stats {
namespace {

// Fields of /proc/self/stat, as proc(5) counts them. The second one is the program's name in
// parentheses, which may hold anything; `after_name` begins with the third.
class StatFields {
 public:
  explicit StatFields(const std::string& text)
      : after_name_(absl::StrSplit(text.substr(text.rfind(')') + 1), absl::ByAnyChar(" \n"),
                                   absl::SkipEmpty())) {}

  // 0 where there is no such number.
  double operator[](size_t field) const {
    double value = 0;
    const size_t index = field - 3;
    return index < after_name_.size() && absl::SimpleAtod(after_name_[index], &value) ? value : 0;
  }

 private:
  const std::vector<std::string> after_name_;
};

// When the machine started, in seconds since the epoch; 0 where the kernel does not tell.
double BootTime() {
  std::ifstream stat("/proc/stat");
  for (std::string line; std::getline(stat, line);) {
    double seconds = 0;
    if (line.starts_with("btime ") && absl::SimpleAtod(line.substr(6), &seconds)) return seconds;
  }
  return 0;
}

void AddLimit(const MetricName& metric, __rlimit_resource_t resource, FamilySet* out) {
  rlimit limit = {};
  if (getrlimit(resource, &limit) != 0) return;
  // As the client libraries have it for no limit: the largest number of bytes.
  out->Add(metric, {}, static_cast<double>(limit.rlim_cur));
}

void AddOpenFiles(FamilySet* out) {
  std::error_code error;
  const std::filesystem::directory_iterator files("/proc/self/fd", error);
  if (error) return;
  double open = -1;  // not the one that is read
  for (auto file = begin(files); file != end(files); file.increment(error)) {
    ++open;
    if (error) return;
  }
  out->Add(kProcessOpenFiles, {}, open);
}

}  // namespace

void AppendProcessMetrics(std::vector<prometheus::MetricFamily>* families) {
  FamilySet out = {&kProcessCpuSeconds,    &kProcessOpenFiles,        &kProcessMaxFiles,
                   &kProcessVirtualMemory, &kProcessMaxVirtualMemory, &kProcessResidentMemory,
                   &kProcessStartTime};
  std::ifstream file("/proc/self/stat");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  if (!text.empty()) {
    const StatFields stat(text);
    const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
    out.Add(kProcessCpuSeconds, {}, (stat[14] + stat[15]) / ticks);
    out.Add(kProcessVirtualMemory, {}, stat[23]);
    out.Add(kProcessResidentMemory, {}, stat[24] * static_cast<double>(sysconf(_SC_PAGESIZE)));
    if (const double boot = BootTime(); boot > 0) {
      out.Add(kProcessStartTime, {}, boot + stat[22] / ticks);
    }
  }
  AddOpenFiles(&out);
  AddLimit(kProcessMaxFiles, RLIMIT_NOFILE, &out);
  AddLimit(kProcessMaxVirtualMemory, RLIMIT_AS, &out);
  out.AppendTo(families);
}

}  // namespace olmoe::stats
