#ifndef OLMOE_CLIENT_BENCH_TARGET_H_
#define OLMOE_CLIENT_BENCH_TARGET_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::bench {

// What takes the requests of a run: a server, or a test's model of one. Thread-safe.
class Target {
 public:
  using OnEvent = std::function<void(const v1::GenerateStreamResponse&)>;
  using OnDone = std::function<void(const absl::Status&)>;
  using OnScored = std::function<void(const absl::StatusOr<v1::ScoreResponse>&)>;

  virtual ~Target() = default;
  // Returns at once. The functions are called on other threads, those of one request one
  // after the other, the last once and after all others.
  virtual void Generate(const v1::GenerateRequest& request, OnEvent on_event, OnDone on_done) = 0;
  virtual void Score(const v1::ScoreRequest& request, OnScored on_scored) = 0;
  // Ends all requests with CANCELLED, and those to come.
  virtual void CancelAll() = 0;
};

}  // namespace olmoe::client::bench

#endif  // OLMOE_CLIENT_BENCH_TARGET_H_
