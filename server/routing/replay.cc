#include "server/routing/replay.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/routing/field_checks.h"
#include "server/routing/policy.h"
#include "server/routing/weights.h"
#include "server/util/sha256.h"

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
    for (const uint8_t count : replay.counts) {
      if (count >= 1 && count <= shape_.num_experts) continue;
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
    for (const uint8_t count : replay.counts) {
      ExpertSet seen;
      for (const auto end = next + count; next != end; ++next) {
        if (*next >= shape_.num_experts) {
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

std::string DigestOf(const Replay& replay) {
  static_assert(std::endian::native == std::endian::little, "the digest is of little-endian bytes");
  Sha256 sha;
  for (const uint64_t value : {replay.first_position, replay.num_positions, replay.num_layers}) {
    const uint32_t word = static_cast<uint32_t>(value);
    sha.Update(&word, sizeof(word));
  }
  sha.Update(replay.counts.data(), replay.counts.size());
  sha.Update(replay.experts.data(), replay.experts.size());
  if (replay.mode == ReplayWeights::kRecorded) {
    sha.Update(replay.weights.data(), replay.weights.size() * sizeof(float));
  }
  return sha.HexDigest();
}

}  // namespace

void ValidateReplay(const Replay& replay, const RouterShape& shape, std::string_view prefix,
                    std::vector<FieldViolation>* violations) {
  ReplayChecker(shape, prefix, violations).Check(replay);
}

RecordedRouting::RecordedRouting(Replay replay) : replay_(std::move(replay)) {
  first_expert_.reserve(replay_.num_positions);
  uint64_t next = 0;
  for (auto count = replay_.counts.begin(); count != replay_.counts.end();) {
    first_expert_.push_back(next);
    const auto end = count + static_cast<ptrdiff_t>(replay_.num_layers);
    next = std::accumulate(count, end, next);
    count = end;
  }
  digest_ = DigestOf(replay_);
}

std::optional<RecordedRow> RecordedRouting::At(const RowPlace& place) const {
  if (place.position < replay_.first_position ||
      place.position - replay_.first_position >= replay_.num_positions) {
    return std::nullopt;
  }
  const uint64_t position = place.position - replay_.first_position;
  const auto of_position =
      replay_.counts.begin() + static_cast<ptrdiff_t>(position * replay_.num_layers);
  const auto of_row = of_position + place.layer;
  const uint64_t begin = std::accumulate(of_position, of_row, first_expert_[position]);
  RecordedRow row;
  row.experts = std::span(replay_.experts).subspan(begin, *of_row);
  if (replay_.mode == ReplayWeights::kRecorded) {
    row.weights = std::span(replay_.weights).subspan(begin, *of_row);
  }
  return row;
}

size_t RecordedRouting::bytes() const {
  return replay_.counts.size() + replay_.experts.size() + replay_.weights.size() * sizeof(float) +
         first_expert_.size() * sizeof(uint64_t);
}

RouteError ReplayRow(std::span<const float> logits, const RouterShape& shape, WeightMode mode,
                     const RecordedRow& recorded, RowRouting* out) {
  if (!AllFinite(logits)) return RouteError::kNonFiniteLogit;
  LogitRow raw(logits);
  const size_t k = recorded.experts.size();
  out->applied = Decision{.k = static_cast<uint8_t>(k)};
  out->analyzed.reset();
  out->router_entropy = raw.entropy();
  double mass = 0;
  for (const uint8_t expert : recorded.experts) mass += raw.probabilities()[expert];
  std::copy(recorded.experts.begin(), recorded.experts.end(), out->experts.begin());
  out->applied.selected_mass = static_cast<float>(mass);
  const std::span<float> weights = std::span(out->weights).first(k);
  if (!recorded.weights.empty()) {
    std::copy(recorded.weights.begin(), recorded.weights.end(), weights.begin());
  } else {
    AdjustedRow row(raw, Adjust(), RowPlace());
    Weigh(mode, 1, shape, recorded.experts, &row, &raw, weights);
  }
  return RouteError::kNone;
}

RouteError RouteRequestRow(const RoutingPolicy& policy, const RecordedRouting* recorded,
                           const RowPlace& place, std::span<const float> logits, RowRouting* out) {
  if (recorded != nullptr) {
    if (const std::optional<RecordedRow> row = recorded->At(place)) {
      return ReplayRow(logits, policy.shape(), policy.weight_mode(place), *row, out);
    }
  }
  return policy.Route(place, logits, out);
}

}  // namespace olmoe::routing
