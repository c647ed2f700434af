// A model for tests of everything above model::Model: no torch, no weights, and replies that give
// away any mix-up of sequences, pages, positions or policies.
#ifndef OLMOE_TESTS_SUPPORT_FAKE_MODEL_H_
#define OLMOE_TESTS_SUPPORT_FAKE_MODEL_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/model/model.h"

namespace olmoe::testing {

struct FakeModelOptions {
  int num_layers = 2;
  int num_experts = 8;
  int default_k = 2;
  int vocab_size = 64;
  int max_context = 1024;
  int page_tokens = 4;
  int num_pages = 256;
  std::optional<int64_t> eos_token_id = {};
  // Tokens drawn at these positions, whatever the logits say; for replies with a known end or text.
  std::map<int, TokenId> script = {};
  // An input token whose row has a NaN among its router logits, in the last layer.
  std::optional<TokenId> nan_token = {};
};

// The state of a sequence at a position is a hash chain over its tokens, positions and what its
// policy applied (experts and weights of every layer) up to there. Each link is stored in the KV page of its position and the next one is
// computed from what that page holds, so another sequence's write to a page changes every later
// reply. Logits are hashes of the link, router logits
// of the link before with the token; sampling, log-probabilities and ranks
// follow from the logits as in any model. A reply is thus a pure function of (prompt, policy,
// sampling), which a solo run shows.
//
// Malformed batches CHECK: pages out of range, too few or shared in a step; a chunk that does not
// continue what its pages hold; rows, targets or histories of the wrong length.
//
// Step by one thread at a time; everything else is thread-safe.
class FakeModel : public model::Model {
 public:
  explicit FakeModel(FakeModelOptions options = {});

  const model::ModelInfo& info() const override { return info_; }
  const model::KvCacheShape& kv_cache() const override { return kv_shape_; }
  // Takes any weights, and does not look at them: rows under a router have other logits.
  absl::StatusOr<std::shared_ptr<const routing::PreparedRouter>> PrepareRouter(
      const std::map<int, routing::RouterWeights>& layers) const override;
  // Value i is layer + i.
  absl::StatusOr<routing::RouterWeights> OwnRouter(int layer) const override;
  absl::Status Step(const model::StepBatch& batch, model::StepOutput* output) override;

  // Steps are numbered from 1. From now on every step waits at its start until it is let through.
  void Hold();
  // Lets this many more steps through.
  void Allow(int num_steps);
  // Lets all steps through from now on.
  void Unhold();
  // Waits until step number `step` has begun (it may be held).
  void AwaitStepBegun(int step);
  // That step fails as a whole.
  void FailStep(int step, absl::Status status);

  struct Counters {
    int steps = 0;  // that have begun
    int64_t rows = 0;
    int max_rows = 0;    // of a step
    int max_chunks = 0;  // of a step
  };
  Counters counters() const;
  // Rows of each chunk of the steps so far.
  std::vector<std::vector<int>> chunk_rows() const;

 private:
  // What a KV page holds of one position.
  struct Link {
    int position = -1;
    uint64_t hash = 0;
  };

  absl::Status BeginStep(const model::StepBatch& batch);
  void CheckPages(const model::StepBatch& batch);
  // A row's hash before and after its routers have decided.
  struct RowState {
    uint64_t input = 0;
    uint64_t link = 0;
  };
  // Writes the links of a chunk's rows to its pages. [rows]
  std::vector<RowState> WriteKv(const model::Chunk& chunk);
  // `input` with what the policy applies to this row.
  uint64_t MixApplied(const model::Chunk& chunk, int row, uint64_t input, TokenId token) const;
  Link& KvAt(const model::Chunk& chunk, int position);
  // [experts]
  std::vector<float> RouterLogits(const model::Chunk& chunk, uint64_t input, TokenId token,
                                  int layer) const;
  void Route(const model::StepBatch& batch, const std::vector<std::vector<RowState>>& rows,
             model::StepOutput* output) const;
  void Head(const model::Chunk& chunk, std::span<const RowState> rows,
            model::ChunkOutput* output) const;
  std::vector<float> Logits(uint64_t link) const;  // [vocab]

  // Constant after construction.
  const FakeModelOptions options_;
  model::ModelInfo info_;
  model::KvCacheShape kv_shape_;

  // The thread of Step only.
  std::vector<Link> kv_;  // [pages * page_tokens]
  std::atomic<bool> stepping_ = false;

  mutable absl::Mutex mu_;
  int64_t num_allowed_ ABSL_GUARDED_BY(mu_);  // steps up to this number need not wait
  std::map<int, absl::Status> failures_ ABSL_GUARDED_BY(mu_);
  Counters counters_ ABSL_GUARDED_BY(mu_);
  std::vector<std::vector<int>> chunk_rows_ ABSL_GUARDED_BY(mu_);
};

}  // namespace olmoe::testing

#endif  // OLMOE_TESTS_SUPPORT_FAKE_MODEL_H_
