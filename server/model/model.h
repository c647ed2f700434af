// The seam between the engine and whatever computes: one step of many sequences goes
// in; sampled tokens, log-probabilities and the routing record come out. It knows
// neither torch nor gRPC.
#ifndef OLMOE_SERVER_MODEL_MODEL_H_
#define OLMOE_SERVER_MODEL_MODEL_H_

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/routing/policy.h"
#include "server/routing/record.h"
#include "server/routing/replay.h"
#include "server/routing/router.h"
#include "server/util/token_id.h"

namespace olmoe::model {

// The index of a page of the KV cache, which holds the keys and values of
// `page_tokens` consecutive positions of one sequence, in all layers.
using PageId = int32_t;

struct ModelInfo {
  std::string model_id;        // name of the model directory
  std::string weights_digest;  // SHA-256 over the safetensors files, in name order
  int num_layers = 0;
  int num_experts = 0;
  int default_top_k = 0;
  bool norm_topk_prob = false;
  int hidden_size = 0;
  int vocab_size = 0;
  int max_context = 0;  // tokens of one sequence
  std::optional<int64_t> eos_token_id;  // of config.json, the first where it has several
  std::vector<int64_t> end_token_ids;   // each ends a completion
  std::optional<int64_t> pad_token_id;
  std::string device;  // "cpu", "cuda:0"
  std::string dtype;   // "float32", "bfloat16"
  std::string kernels;  // what computes: "amx", "avx2", ..., "aten"

  routing::RouterShape router_shape() const {
    return {num_layers, num_experts, default_top_k, norm_topk_prob};
  }
};

struct KvCacheShape {
  int page_tokens = 0;
  int num_pages = 0;
  int64_t page_bytes = 0;  // keys and values of one page, all layers
};

// How the next token is drawn. REQUIRES: all fields are in range (api checks them).
struct SamplingParams {
  double temperature = 1;  // 0 = greedy
  double top_p = 1;
  int top_k = 0;  // 0 = all
  double min_p = 0;
  double repetition_penalty = 1;
  double presence_penalty = 0, frequency_penalty = 0;
  // Added to the logits; each token once.
  std::vector<std::pair<TokenId, float>> logit_bias = {};
  uint64_t seed = 0;
};

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;  // nats, of the softmax of the unchanged logits
};

// Asks for one token, drawn after the last row of a chunk.
struct SampleRequest {
  SamplingParams params;
  // Prompt and completion so far, for the penalties. REQUIRES: it is alive during the step.
  std::span<const TokenId> history;
  // Position of the token to be drawn: with the seed, the only source of
  // randomness, so the draw does not depend on the rest of the batch.
  int position = 0;
  bool logprob = false;  // also give its log-probability
  int top = 0;           // and this many alternatives, 0..20
  int prompt_tokens = 0;  // of the history; the rest is the completion
};

// Asks for the score of every row of a chunk whose target is not kNoTarget.
inline constexpr TokenId kNoTarget = -1;
struct ScoreRequest {
  std::span<const TokenId> targets;  // [rows of the chunk]; alive during the step
  int top = 0;                       // alternatives per scored row, 0..20
};

// Consecutive rows of one sequence. Keys and values of earlier positions are in
// the pages already; those of these rows are written by the step.
struct Chunk {
  std::span<const TokenId> tokens;  // [rows >= 1]
  int first_position = 0;           // of tokens[0]
  std::span<const PageId> pages;    // of the whole sequence; cover first_position + rows
  const routing::RoutingPolicy* policy = nullptr;
  const routing::RecordedRouting* replay = nullptr;  // runs the rows that it covers
  // Tokens of the sequence's prompt: rows from that position on are late, for the policy.
  int prompt_tokens = std::numeric_limits<int>::max();
  uint64_t routing_seed = 0;  // of the policy's noise
  std::optional<SampleRequest> sample;
  std::optional<ScoreRequest> score;
  bool router_logits = false;  // return the raw router logits of these rows
  bool last_logits = false;    // return the logits of the last row

  // Where row number `row` of the chunk stands, for its policy.
  routing::RowPlace PlaceOf(int row, int layer) const {
    const int position = first_position + row;
    return {.layer = layer,
            .position = static_cast<uint64_t>(position),
            .routing_seed = routing_seed,
            .late = position >= prompt_tokens};
  }
  // Routes row number `row` of the chunk; `logits`: [num_experts].
  routing::RouteError Route(int row, int layer, std::span<const float> logits,
                            routing::RowRouting* out) const {
    return routing::RouteRequestRow(*policy, replay, PlaceOf(row, layer), logits, out);
  }
};

// One step: chunks of different sequences (each sequence at most once). Several may read a page;
// what one of them writes, no other has.
struct StepBatch {
  // Keys and values that are copied, one after the other, before any row is computed.
  struct PageCopy {
    PageId from = 0, to = 0;  // different
  };
  std::vector<PageCopy> page_copies;
  std::vector<Chunk> chunks;
};

struct SampledToken {
  TokenId token = 0;
  float logprob = 0;              // filled when asked for
  std::vector<TokenLogprob> top;  // descending
};

struct ScoredRow {
  int row = 0;  // of the chunk
  float logprob = 0;
  uint32_t rank = 0;  // 1 = the most likely token
  std::vector<TokenLogprob> top;
};

struct ChunkOutput {
  // INTERNAL when a row of this chunk had NaN or Inf router logits or logits; the
  // message names the layer. The other chunks are not affected.
  absl::Status status;
  std::optional<SampledToken> sampled;
  std::vector<ScoredRow> scored;     // ascending row
  std::vector<float> router_logits;  // [layers][rows][experts]; empty unless asked
  std::vector<float> last_logits;    // [vocab_size]; empty unless asked
};

struct StepOutput {
  std::vector<ChunkOutput> chunks;  // as in the batch
  routing::RoutingRecord routing;   // rows in batch order
};

// A loaded model with its KV cache. Engine thread only, but for its const functions, which are
// thread-safe.
class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelInfo& info() const = 0;
  virtual const KvCacheShape& kv_cache() const = 0;

  // Brings weights, [num_experts][hidden_size] for some layers, into the form in which steps use
  // them: that of the model's own routers, which compute in float32 whatever the type of the model,
  // so that nothing is rounded. RESOURCE_EXHAUSTED where memory does not suffice. REQUIRES: layers
  // and sizes are the model's.
  virtual absl::StatusOr<std::shared_ptr<const routing::PreparedRouter>> PrepareRouter(
      const std::map<int, routing::RouterWeights>& layers) const = 0;
  // The model's own router of `layer`.
  virtual absl::StatusOr<routing::RouterWeights> OwnRouter(int layer) const = 0;

  // Runs one step. `output` is reset; its memory is reused from step to step. An
  // error is a failure of the whole step (out of memory, device lost), and no chunk
  // has a result then. REQUIRES: the batch is well-formed, and this model has prepared the routers
  // of its policies (CHECK).
  virtual absl::Status Step(const StepBatch& batch, StepOutput* output) = 0;
};

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_MODEL_H_
