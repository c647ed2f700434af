// A scored text, token by token: how likely each was, and what the routers did with it.
#ifndef OLMOE_CLIENT_TRACE_TOKEN_TABLE_H_
#define OLMOE_CLIENT_TRACE_TOKEN_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "client/trace/recording.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::trace {

// One expert that ran.
struct Selection {
  int layer = 0;
  int expert = 0;
  float weight = 0;
};

// The tokens of one rolling item. A token's row is the one that it went through the layers in:
// the last token has none, because it is predicted and never an input. Immutable.
class TokenTable {
 public:
  // Of the reply to a request of AskForTrace with per_token and one rolling item. INTERNAL where
  // the trace is not whole.
  static absl::StatusOr<TokenTable> Create(const v1::GetModelInfoResponse& model,
                                           const v1::ScoreResponse& response);

  size_t num_tokens() const { return scores_.size(); }
  int num_layers() const { return recording_.shape.num_layers; }
  int num_experts() const { return recording_.shape.num_experts; }
  bool HasRow(size_t token) const { return token + 1 < num_tokens(); }
  const v1::ScoredToken& Score(size_t token) const { return scores_[token]; }

  // REQUIRES of what follows: HasRow(token), layer < num_layers().
  int K(size_t token, int layer) const { return recording_.counts[Slot(token, layer)]; }
  // Of the softmax of the raw router logits, in nats.
  float Entropy(size_t token, int layer) const { return entropy_[Slot(token, layer)]; }
  // Over all layers.
  double MeanK(size_t token) const;
  double MeanEntropy(size_t token) const;
  // In the order in which the rule ranks them.
  std::vector<Selection> ExpertsOf(size_t token, int layer) const;
  // The `count` selections of all layers with the largest weights, the largest first.
  std::vector<Selection> Busiest(size_t token, size_t count) const;

 private:
  TokenTable() = default;

  // The first row is the prefix token's.
  size_t Slot(size_t token, int layer) const {
    return (token + 1) * static_cast<size_t>(num_layers()) + static_cast<size_t>(layer);
  }

  std::vector<v1::ScoredToken> scores_;
  Recording recording_;
  std::vector<float> entropy_;  // [rows * layers]
};

}  // namespace olmoe::client::trace

#endif  // OLMOE_CLIENT_TRACE_TOKEN_TABLE_H_
