#ifndef OLMOE_TESTS_MODEL_SEQUENCE_RUNNER_H_
#define OLMOE_TESTS_MODEL_SEQUENCE_RUNNER_H_

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "server/model/load_model.h"
#include "server/model/model.h"
#include "server/routing/policy.h"

namespace olmoe::model {

// All that the rows of one sequence gave, over all steps. T tokens.
struct SequenceResult {
  std::vector<float> logits;         // [T, V]
  std::vector<float> next_logprobs;  // [T - 1]
  std::vector<uint32_t> next_ranks;  // [T - 1]
  std::vector<std::vector<float>> router_logits;  // [L] of [T * E]
  // Selected experts with their weights, in order.
  std::vector<std::vector<std::vector<int>>> expert_ids;        // [L][T]
  std::vector<std::vector<std::vector<float>>> expert_weights;  // [L][T]
  std::vector<std::vector<float>> hidden_states;  // [L + 1] of [T * H]
  std::vector<float> final_norm;                  // [T * H]
};

// A loaded model and a page allocator that hands out pages in a scattered order.
// Every row is scored against the token after it, so a trace has all logits.
class SequenceRunner {
 public:
  // CHECK-fails where the model cannot be loaded.
  explicit SequenceRunner(LoadOptions options);

  const ModelInfo& info() const { return model_->info(); }
  Model* model() { return model_.get(); }
  const StepTrace& trace() const { return trace_; }

  // What the policy may ask of a request besides its tokens.
  struct RequestPart {
    int prompt_tokens = Chunk().prompt_tokens;  // of each sequence; Generate has its prompt's
    uint64_t routing_seed = 0;
    const routing::RecordedRouting* replay = nullptr;
  };

  // Runs the sequences side by side, at most `chunk` tokens of each in a step.
  std::vector<SequenceResult> Run(const std::vector<std::vector<TokenId>>& sequences,
                                  const routing::RoutingPolicy& policy, int chunk = 1 << 20) {
    return Run(sequences, policy, chunk, RequestPart());
  }
  std::vector<SequenceResult> Run(const std::vector<std::vector<TokenId>>& sequences,
                                  const routing::RoutingPolicy& policy, int chunk,
                                  const RequestPart& part);

  struct Generated {
    std::vector<TokenId> ids;
    std::vector<float> logprobs;
    std::vector<int> experts_used;  // of each step, over all layers, last row
  };
  Generated Generate(const std::vector<TokenId>& prompt, int tokens,
                     const routing::RoutingPolicy& policy, const SamplingParams& params,
                     uint64_t routing_seed = 0);

  // Pages for `tokens` positions, in no particular order; Release gives them back.
  std::vector<PageId> TakePages(int tokens);
  void Release(const std::vector<PageId>& pages);

 private:
  void Collect(const StepBatch& step, const std::vector<size_t>& sequence_of_chunk,
               const StepOutput& output, std::vector<SequenceResult>* results);

  StepTrace trace_;
  std::unique_ptr<Model> model_;
  std::vector<PageId> free_;
};

}  // namespace olmoe::model

#endif  // OLMOE_TESTS_MODEL_SEQUENCE_RUNNER_H_
