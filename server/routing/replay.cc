#include "server/routing/replay.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "server/routing/field_checks.h"
#include "server/routing/weights.h"

namespace olmoe::routing {
namespace {

// One visit of a replay; the first thing that is wrong with a field is told.
class ReplayChecker {
 public:
  ReplayChecker(const RouterShape& shape, std::string_view prefix,
                std::vector<FieldViolation>* violations)
      : shape_(shape), prefix_(prefix), violations_(*violations) {}

  void Check(const Replay& replay) const {
    const uint64_t num_layers = static_cast<uint64_t>(shape_.num_layers);
    if (replay.num_layers != num_layers) {
      Add("num_layers",
          absl::StrCat("must be the model's ", num_layers, ", is ", replay.num_layers));
    }
    if (replay.num_positions < 1) Add("num_positions", "must be at least 1");
    if (CheckCounts(replay)) CheckExperts(replay);
    if (replay.mode == ReplayWeights::kRecorded) CheckWeights(replay);
  }

 private:
  bool CheckCounts(const Replay& replay) const {
    const uint64_t size = replay.counts.size();
    const bool is_product =
        replay.num_layers == 0
            ? size == 0
            : size % replay.num_layers == 0 && size / replay.num_layers == replay.num_positions;
    if (!is_product) {
      Add("counts", absl::StrCat("must have num_positions * num_layers values, has ", size));
      return false;
    }
    for (const uint32_t count : replay.counts) {
      if (count >= 1 && count <= static_cast<uint32_t>(shape_.num_experts)) continue;
      Add("counts", absl::StrCat("must be 1..", shape_.num_experts, ", has ", count));
      return false;
    }
    return true;
  }

  void CheckExperts(const Replay& replay) const {
    const uint64_t sum = std::accumulate(replay.counts.begin(), replay.counts.end(), uint64_t{0});
    if (sum != replay.experts.size()) {
      return Add("experts", absl::StrCat("must be as many as counts sum to, which is ", sum,
                                         ", has ", replay.experts.size()));
    }
    auto next = replay.experts.begin();
    for (const uint32_t count : replay.counts) {
      ExpertSet seen;
      for (const auto end = next + count; next != end; ++next) {
        if (*next >= static_cast<uint32_t>(shape_.num_experts)) {
          return Add("experts",
                     absl::StrCat("must be 0..", shape_.num_experts - 1, ", has ", *next));
        }
        if (seen[*next])
          return Add("experts", absl::StrCat("names expert ", *next, " twice in a row"));
        seen[*next] = true;
      }
    }
  }

  void CheckWeights(const Replay& replay) const {
    if (replay.weights.size() != replay.experts.size()) {
      Add("weights", absl::StrCat("must be as many as experts, ", replay.experts.size(), ", has ",
                                  replay.weights.size()));
    } else if (!std::all_of(replay.weights.begin(), replay.weights.end(),
                            [](float weight) { return std::isfinite(weight); })) {
      Add("weights", "must be finite");
    }
  }

  void Add(const char* name, std::string text) const {
    violations_.push_back({FieldPath(FieldPath(prefix_, "trace"), name), std::move(text)});
  }

  const RouterShape& shape_;
  const std::string prefix_;
  std::vector<FieldViolation>& violations_;
};

}  // namespace

void ValidateReplay(const Replay& replay, const RouterShape& shape, std::string_view prefix,
                    std::vector<FieldViolation>* violations) {
  ReplayChecker(shape, prefix, violations).Check(replay);
}

std::optional<RecordedRow> RecordedAt(const Replay& replay, const RowPlace& place) {
  if (place.position < replay.first_position ||
      place.position - replay.first_position >= replay.num_positions) {
    return std::nullopt;
  }
  const uint64_t slot = (place.position - replay.first_position) * replay.num_layers +
                        static_cast<uint64_t>(place.layer);
  const auto counts = replay.counts.begin();
  const uint64_t begin =
      std::accumulate(counts, counts + static_cast<ptrdiff_t>(slot), uint64_t{0});
  RecordedRow row;
  row.experts = std::span(replay.experts).subspan(begin, replay.counts[slot]);
  if (replay.mode == ReplayWeights::kRecorded) {
    row.weights = std::span(replay.weights).subspan(begin, replay.counts[slot]);
  }
  return row;
}

RouteError ReplayRow(std::span<const float> logits, const RouterShape& shape, WeightMode mode,
                     const RecordedRow& recorded, RowRouting* out) {
  if (!AllFinite(logits)) return RouteError::kNonFiniteLogit;
  LogitRow raw(logits);
  AdjustedRow row(raw, Adjust(), RowPlace());
  const size_t k = recorded.experts.size();
  out->applied = Decision{.k = static_cast<uint8_t>(k)};
  out->analyzed.reset();
  out->router_entropy = raw.entropy();
  double mass = 0;
  for (size_t i = 0; i < k; ++i) {
    out->experts[i] = static_cast<uint8_t>(recorded.experts[i]);
    mass += raw.probabilities()[recorded.experts[i]];
  }
  out->applied.selected_mass = static_cast<float>(mass);
  const std::span<float> weights = std::span(out->weights).first(k);
  if (!recorded.weights.empty()) {
    std::copy(recorded.weights.begin(), recorded.weights.end(), weights.begin());
  } else {
    Weigh(mode, 1, shape, std::span(out->experts).first(k), &row, &raw, weights);
  }
  return RouteError::kNone;
}

}  // namespace olmoe::routing
