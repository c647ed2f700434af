#include "client/trace/token_table.h"

#include <algorithm>
#include <array>

#include "server/routing/softmax.h"

namespace olmoe::client::trace {

absl::StatusOr<TokenTable> TokenTable::Create(const v1::GetModelInfoResponse& model,
                                              const v1::ScoreResponse& response) {
  TokenTable table;
  table.recording_.Describe(model, response.routing());
  if (response.results_size() != 1 || response.results(0).tokens().empty() ||
      model.num_experts() < 1 || model.num_experts() > routing::kMaxExperts) {
    return absl::InternalError("the server's answer has not the tokens of one text");
  }
  const v1::ScoreResult& result = response.results(0);
  table.scores_.assign(result.tokens().begin(), result.tokens().end());
  std::vector<int32_t> inputs = {0};  // the prefix token; nobody asks which it is
  for (size_t token = 0; table.HasRow(token); ++token) {
    inputs.push_back(static_cast<int32_t>(table.scores_[token].token_id()));
  }
  const absl::Status whole = table.recording_.Append(result.trace(), /*item=*/0, inputs);
  if (!whole.ok()) return whole;
  std::array<float, routing::kMaxExperts> probabilities;
  for (size_t slot = 0; slot < table.recording_.counts.size(); ++slot) {
    const std::span<const float> logits = table.recording_.LogitsOf(slot);
    table.entropy_.push_back(
        routing::Softmax(logits, /*temperature=*/1, std::span(probabilities).first(logits.size())));
  }
  return table;
}

double TokenTable::MeanK(size_t token) const {
  double sum = 0;
  for (int layer = 0; layer < num_layers(); ++layer) sum += K(token, layer);
  return sum / num_layers();
}

double TokenTable::MeanEntropy(size_t token) const {
  double sum = 0;
  for (int layer = 0; layer < num_layers(); ++layer) sum += double{Entropy(token, layer)};
  return sum / num_layers();
}

std::vector<Selection> TokenTable::ExpertsOf(size_t token, int layer) const {
  std::vector<Selection> selections;
  const size_t slot = Slot(token, layer);
  const std::span<const uint8_t> experts = recording_.ExpertsOf(slot);
  for (size_t i = 0; i < experts.size(); ++i) {
    const float weight = recording_.weights[static_cast<size_t>(recording_.offsets[slot]) + i];
    selections.push_back({.layer = layer, .expert = experts[i], .weight = weight});
  }
  return selections;
}

std::vector<Selection> TokenTable::Busiest(size_t token, size_t count) const {
  std::vector<Selection> all;
  for (int layer = 0; layer < num_layers(); ++layer) {
    const std::vector<Selection> experts = ExpertsOf(token, layer);
    all.insert(all.end(), experts.begin(), experts.end());
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Selection& a, const Selection& b) { return a.weight > b.weight; });
  if (all.size() > count) all.resize(count);
  return all;
}

}  // namespace olmoe::client::trace
