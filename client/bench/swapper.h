#ifndef OLMOE_CLIENT_BENCH_SWAPPER_H_
#define OLMOE_CLIENT_BENCH_SWAPPER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/bench/histogram.h"
#include "client/transport/rpc_client.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::bench {

struct SwapReport {
  uint64_t swaps = 0;      // that changed the plan
  uint64_t conflicts = 0;  // somebody else had patched meanwhile
  uint64_t failures = 0;   // refused or failed otherwise
  std::string first_failure;
  Histogram blocked;     // that admission was, as the replies tell
  Histogram round_trip;  // of the calls
  uint64_t first_generation = 0, last_generation = 0;  // of the swaps
  uint64_t original_generation = 0;  // of the plan that was there
  uint64_t restored_generation = 0;  // of the same plan at the end; 0: not restored
  std::string not_restored;          // why
};

// Patches one policy after the other for all traffic, and brings the plan back that was
// there. Every patch has a time to live, so that a client that is killed leaves nothing
// behind: the plan comes back by itself. What somebody else publishes in between for good
// is not overwritten in the end: it is then the plan that is brought back.
// Thread-compatible.
class Swapper {
 public:
  struct Options {
    std::vector<v1::RoutingPolicy> policies;  // two at least
    absl::Duration every;
    absl::Duration ttl = absl::Minutes(1);  // at least; longer where swaps are rare
  };
  // Reads the current plan. FAILED_PRECONDITION where it has a time to live, which a patch
  // would end.
  static absl::StatusOr<std::unique_ptr<Swapper>> Create(Options options,
                                                         transport::RpcClient* rpc);

  // Publishes the next policy. A conflict or a failure is counted and returned; the next
  // swap begins with what is current then.
  absl::Status Swap();
  // The plan that was there, unless nothing was changed or somebody else's plan stands.
  void Restore();

  const SwapReport& report() const { return report_; }

 private:
  Swapper(Options options, transport::RpcClient* rpc) : options_(std::move(options)), rpc_(rpc) {}

  absl::Status ReadCurrent();
  absl::Status Count(absl::Status status);
  void Count(const v1::PatchRoutersResponse& response, absl::Duration round_trip);

  const Options options_;
  transport::RpcClient* const rpc_;
  SwapReport report_;
  v1::PlanRecord current_, original_;
  size_t next_ = 0;  // policy
};

// Swaps at regular times on a thread of its own, from construction to Stop. While it runs,
// the swapper is not to be used. Thread-compatible.
class SwapLoop {
 public:
  SwapLoop(Swapper* swapper, absl::Duration every);
  ~SwapLoop() { Stop(); }

  void Stop();  // returns when the swap under way has ended

 private:
  void Loop();

  Swapper* const swapper_;
  const absl::Duration every_;
  absl::Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace olmoe::client::bench

#endif  // OLMOE_CLIENT_BENCH_SWAPPER_H_
