#ifndef OLMOE_CLIENT_EVAL_RUNNER_H_
#define OLMOE_CLIENT_EVAL_RUNNER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "client/eval/dataset.h"
#include "client/eval/journal.h"
#include "client/eval/result.h"
#include "client/transport/rpc_client.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::eval {

// Asks the server which policy `subject` is, by scoring one token, and fills in its
// digest and its analyzer. So a policy that the server refuses is told before hours are spent.
absl::Status ResolveSubject(const v1::GetModelInfoResponse& model, transport::RpcClient& rpc,
                            Subject* subject);

// One data set under one subject.
struct PassResult {
  std::vector<UnitResult> units;
  ExpertCounts experts;  // of all units; empty unless they were asked for
};

// Scores data sets under subjects, several requests in flight on one ScoreStream.
// Thread-compatible.
class EvalRunner {
 public:
  struct Options {
    v1::GetModelInfoResponse model;
    int in_flight = 8;
    uint64_t routing_seed = 0;
    bool count_experts = false;
  };
  // Units done, of all, and tokens a second so far.
  using OnProgress = std::function<void(size_t done, size_t all, double tokens_per_second)>;

  EvalRunner(Options options, transport::RpcClient* rpc, Journal* journal)
      : options_(std::move(options)), rpc_(rpc), journal_(journal) {}

  // The results, one a unit, in their order; those in the journal are taken from there, where it
  // has all that is asked for.
  // A full server is asked again after the delay it names, up to a hundred times. Errors name the unit;
  // ABORTED: the server changed the subject's policy meanwhile.
  absl::StatusOr<PassResult> Run(const Dataset& dataset, const Subject& subject,
                                 const OnProgress& on_progress);

 private:
  const Options options_;
  transport::RpcClient* const rpc_;
  Journal* const journal_;
};

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_RUNNER_H_
