#include "server/net/descriptors.h"

#include <sys/resource.h>

#include <algorithm>

namespace olmoe::net {

uint64_t RaiseDescriptorLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}

ConnectionLimits GrpcPortLimits(uint64_t descriptors) {
  constexpr uint64_t kPorts = 2, kCost = 2, kForFiles = 64;
  constexpr int kLeastInAll = 8, kMostInAll = 1024, kLeastPerClient = 16;
  const uint64_t kept = kForFiles + descriptors / 4;
  const uint64_t in_all = descriptors > kept ? (descriptors - kept) / kCost / kPorts : 0;
  ConnectionLimits limits;
  limits.in_all = std::max(kLeastInAll, static_cast<int>(std::min<uint64_t>(in_all, kMostInAll)));
  limits.per_client = std::max(kLeastPerClient, limits.in_all / 4);
  return limits;
}

}  // namespace olmoe::net
