#ifndef OLMOE_TESTS_ENGINE_RECORDING_SINK_H_
#define OLMOE_TESTS_ENGINE_RECORDING_SINK_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/engine.h"
#include "server/engine/request.h"
#include "server/engine/token_sink.h"

namespace olmoe::engine {

// One completion, deltas put together.
struct Choice {
  std::string text;
  std::vector<GeneratedToken> tokens;
  RoutingTrace trace;
  std::vector<ScoredToken> prompt_tokens;
  bool ended = false;

  std::vector<TokenId> token_ids() const;
};

// Everything that a request has been told; what it has of a Choice is the first completion.
struct Reply : Choice {
  std::map<int, Choice> others;         // completions 1.. by number
  std::map<int, WindowScores> windows;  // by index
  Completion completion;
  bool done = false;
};

// One line that differs if two replies differ in any bit that has to be the same in every run: all
// but the timing.
std::string Fingerprint(const Reply& reply);

// Collects a reply. A callback after OnDone, a second OnDone or a window told twice fails the test.
// Thread-safe; the knobs are set before the sink is submitted.
class RecordingSink : public GenerateSink, public ScoreSink {
 public:
  // What OnTokens and OnScores answer, given what has come so far; null: kContinue.
  std::function<Flow(const Reply&)> flow;
  // Called first in OnDone.
  std::function<void()> on_done;

  Flow OnTokens(GenerateDelta delta) override;
  Flow OnScores(WindowScores scores) override;
  void OnDone(const Completion& completion) override;

  // Waits until this many tokens have come.
  void AwaitTokens(int num_tokens);
  // Waits for OnDone; the whole reply.
  Reply AwaitDone();
  Reply so_far() const;

 private:
  mutable absl::Mutex mu_;
  Reply reply_ ABSL_GUARDED_BY(mu_);
};

// Engine::Submit with `sink` as one of the request's kind.
absl::StatusOr<RequestHandle> SubmitTo(Engine* engine, Request request,
                                       std::shared_ptr<RecordingSink> sink);

}  // namespace olmoe::engine

#endif  // OLMOE_TESTS_ENGINE_RECORDING_SINK_H_
