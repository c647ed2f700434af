#include "client/compare/expert_differences.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace olmoe::client::compare {
namespace {

// Above this a double does not hold every whole number.
constexpr uint64_t kMostTokens = uint64_t{1} << 53;

absl::Status CheckCounts(const v1::LayerExpertStats& layer) {
  if (layer.tokens() > kMostTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("layer ", layer.layer(), ": ", layer.tokens(), " tokens, more than 2^53"));
  }
  for (int expert = 0; expert < layer.expert_tokens_size(); ++expert) {
    if (layer.expert_tokens(expert) <= layer.tokens()) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "layer ", layer.layer(), ": expert ", expert, " ran for ", layer.expert_tokens(expert),
        " tokens, more than the ", layer.tokens(), " that were routed"));
  }
  return absl::OkStatus();
}

absl::Status AddLayer(const v1::LayerExpertStats& from, const v1::LayerExpertStats& to,
                      std::vector<ExpertDifference>* differences) {
  for (const v1::LayerExpertStats* layer : {&from, &to}) {
    if (auto status = CheckCounts(*layer); !status.ok()) return status;
  }
  if (from.expert_tokens_size() != to.expert_tokens_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("layer ", from.layer(), ": ", from.expert_tokens_size(), " and ",
                     to.expert_tokens_size(), " experts, so of two models"));
  }
  for (int expert = 0; expert < from.expert_tokens_size(); ++expert) {
    ExpertDifference& difference = differences->emplace_back();
    difference.layer = from.layer();
    difference.expert = static_cast<uint32_t>(expert);
    difference.from = {.hits = from.expert_tokens(expert), .trials = from.tokens()};
    difference.to = {.hits = to.expert_tokens(expert), .trials = to.tokens()};
    difference.test = TestSameShare(difference.from, difference.to);
  }
  return absl::OkStatus();
}

void MarkDiscoveries(double alpha, std::vector<ExpertDifference>* differences) {
  std::vector<double> p_values;
  for (const ExpertDifference& difference : *differences) p_values.push_back(difference.test.p);
  const std::vector<double> q_values = QValues(p_values);
  for (size_t i = 0; i < q_values.size(); ++i) {
    (*differences)[i].q = q_values[i];
    (*differences)[i].significant = q_values[i] <= alpha;
  }
}

}  // namespace

absl::StatusOr<std::vector<ExpertDifference>> CompareExperts(const v1::ArmExpertStats& from,
                                                             const v1::ArmExpertStats& to,
                                                             double alpha) {
  std::vector<ExpertDifference> differences;
  for (const v1::LayerExpertStats& layer : from.layers()) {
    const auto same = std::find_if(to.layers().begin(), to.layers().end(), [&](const auto& other) {
      return other.layer() == layer.layer();
    });
    if (same == to.layers().end()) continue;
    if (auto status = AddLayer(layer, *same, &differences); !status.ok()) return status;
  }
  if (differences.empty()) {
    return absl::InvalidArgumentError("the two have no layer with experts in common");
  }
  MarkDiscoveries(alpha, &differences);
  return differences;
}

}  // namespace olmoe::client::compare
