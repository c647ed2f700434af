#ifndef OLMOE_TESTS_ENGINE_HARNESS_H_
#define OLMOE_TESTS_ENGINE_HARNESS_H_

#include <memory>
#include <utility>
#include <vector>

#include "server/engine/engine.h"
#include "server/routing/plan_slot.h"
#include "tests/engine/manual_clock.h"
#include "tests/engine/recording_sink.h"
#include "tests/support/fake_model.h"

namespace olmoe::engine {

// A policy that runs the `k` best experts; 0: the model's own.
std::shared_ptr<const routing::RoutingPolicy> PolicyOfK(uint32_t k,
                                                        const routing::RouterShape& shape);

struct HarnessOptions {
  testing::FakeModelOptions model = {};
  EngineOptions engine = {};  // but for `now`
  bool real_time = false;     // the engine goes by the real clock and not by the harness's
  const text::Tokenizer* tokenizer = nullptr;
  StepObserver observer = nullptr;
};

// A request that has been accepted.
struct Submitted {
  RequestHandle handle = 0;
  std::shared_ptr<RecordingSink> sink;
};

// An engine over a fake model, with a clock of its own and a plan slot that counts what is in
// flight.
struct Harness {
  explicit Harness(HarnessOptions options = {});
  ~Harness();

  // Requests of arm "k<k>".
  Request MakeRequest(std::variant<GenerateWork, ScoreWork> work, uint32_t k = 0);
  Request Generate(std::vector<TokenId> prompt, int max_new_tokens, uint32_t k = 0);
  Request Score(std::vector<ScoreWindow> windows, uint32_t k = 0);

  // CHECKs that the engine accepts it.
  Submitted Submit(Request request, std::shared_ptr<RecordingSink> sink = nullptr);
  // Submits and waits for the end.
  Reply Run(Request request);
  // Wakes the engine so that it looks at the clock, and waits until it has: runs one more request.
  void Poke();

  ManualClock clock;
  testing::FakeModel model;
  routing::PlanSlot slot;
  std::unique_ptr<Engine> engine;
};

// The tokens [first, first + n).
std::vector<TokenId> Range(TokenId first, int n);

}  // namespace olmoe::engine

#endif  // OLMOE_TESTS_ENGINE_HARNESS_H_
