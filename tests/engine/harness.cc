#include "tests/engine/harness.h"

#include <numeric>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace olmoe::engine {

std::shared_ptr<const routing::RoutingPolicy> PolicyOfK(uint32_t k,
                                                        const routing::RouterShape& shape) {
  if (k == 0) return routing::RoutingPolicy::Native(shape);
  routing::PolicySpec spec;
  spec.policy_id = absl::StrCat("k", k);
  spec.apply = routing::Rule{.kind = routing::TopK{k}};
  auto policy = routing::RoutingPolicy::Create(spec, shape, nullptr, "policy");
  CHECK(policy.ok()) << policy.status();
  return *policy;
}

Harness::Harness(HarnessOptions options)
    : model(options.model),
      slot(routing::RoutingPlan::Native(model.info().router_shape(), /*generation=*/1,
                                        routing::PlanSource::kStartup, clock.Now())) {
  if (!options.real_time) options.engine.now = clock.function();
  engine = Engine::Create(options.engine, &model, options.tokenizer, options.observer);
}

Harness::~Harness() {
  model.Unhold();
  engine.reset();  // before the slot: no request may be left that pins a plan
}

Request Harness::MakeRequest(std::variant<GenerateWork, ScoreWork> work, uint32_t k) {
  Request request;
  request.request_id = "test";
  request.work = std::move(work);
  request.pin = slot.Pin();
  request.assignment.arm_id = absl::StrCat("k", k);
  request.assignment.policy = PolicyOfK(k, model.info().router_shape());
  return request;
}

Request Harness::Generate(std::vector<TokenId> prompt, int max_new_tokens, uint32_t k) {
  GenerateWork work;
  work.prompt = std::move(prompt);
  work.max_new_tokens = max_new_tokens;
  work.sampling.temperature = 0;
  return MakeRequest(std::move(work), k);
}

Request Harness::Score(std::vector<ScoreWindow> windows, uint32_t k) {
  ScoreWork work;
  work.windows = std::move(windows);
  return MakeRequest(std::move(work), k);
}

Submitted Harness::Submit(Request request, std::shared_ptr<RecordingSink> sink) {
  if (sink == nullptr) sink = std::make_shared<RecordingSink>();
  const absl::StatusOr<RequestHandle> handle = SubmitTo(engine.get(), std::move(request), sink);
  CHECK(handle.ok()) << handle.status();
  return {*handle, sink};
}

Reply Harness::Run(Request request) { return Submit(std::move(request)).sink->AwaitDone(); }

void Harness::Poke() { CHECK(Run(Generate({1}, 1)).done); }

std::vector<TokenId> Range(TokenId first, int n) {
  std::vector<TokenId> tokens(n);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

}  // namespace olmoe::engine
