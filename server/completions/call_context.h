#ifndef OLMOE_SERVER_COMPLETIONS_CALL_CONTEXT_H_
#define OLMOE_SERVER_COMPLETIONS_CALL_CONTEXT_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "server/completions/admission_line.h"
#include "server/experiment/serving.h"
#include "server/http/message.h"
#include "server/limits/call_limits.h"
#include "server/limits/fair_workers.h"
#include "server/limits/worker_pool.h"

namespace olmoe::completions {

// What all calls of the port share. Pointers are not owned and outlive the calls. Constant; what
// it points to is thread-safe.
struct CallContext {
  const experiment::Serving* serving = nullptr;
  limits::CallLimits* limits = nullptr;
  AdmissionLine* line = nullptr;
  limits::FairWorkers* preparing = nullptr;  // parses and tokenizes
  limits::WorkerPool* writing = nullptr;     // makes the replies
  bool behind_proxy = false;
  absl::Duration wait = absl::Seconds(300);  // for a place, memory and the queue
};

// To parse, check and tokenize a byte of a body takes this much beside it; and for the call itself.
inline constexpr int64_t kPreparingBytes = 20, kCallBytes = 64 << 10;

// Whose request it is, for shares of the queue and of memory, as for calls of the gRPC ports.
std::string ClientOf(const http::Request& request, bool behind_proxy);

}  // namespace olmoe::completions

#endif  // OLMOE_SERVER_COMPLETIONS_CALL_CONTEXT_H_
