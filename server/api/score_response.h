#ifndef OLMOE_SERVER_API_SCORE_RESPONSE_H_
#define OLMOE_SERVER_API_SCORE_RESPONSE_H_

#include <vector>

#include "olmoe/v1/inference.pb.h"
#include "server/api/score_request.h"
#include "server/engine/token_sink.h"

namespace olmoe::api {

// Collects the windows of a ScoreWork, which finish in any order, into the answer.
// Thread-compatible: the engine calls one at a time.
class ScoreCollector {
 public:
  ScoreCollector(std::vector<ScoreItemLayout> items, size_t num_windows, bool per_token);

  void Add(engine::WindowScores scores);

  // Sums over the windows of each item, in double. All windows are there.
  v1::ScoreResponse Response(const engine::Completion& completion);
  // Over all items, nats.
  double logprob_sum() const { return logprob_sum_; }
  uint64_t num_scored() const { return num_scored_; }

 private:
  // A window as far as the answer needs it.
  struct Window {
    std::vector<float> logprobs;  // of its scored tokens
    bool is_greedy = true;
    std::vector<engine::ScoredToken> tokens;  // empty unless they are wanted
    engine::RoutingTrace trace;
  };

  v1::ScoreResult Result(size_t item);

  const std::vector<ScoreItemLayout> items_;
  const bool per_token_;
  std::vector<Window> windows_;  // [num_windows]
  double logprob_sum_ = 0;
  uint64_t num_scored_ = 0;
};

// Takes the first `positions` positions off a trace.
void DropFirstPositions(int positions, engine::RoutingTrace* trace);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_SCORE_RESPONSE_H_
