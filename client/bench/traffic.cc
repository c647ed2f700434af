#include "client/bench/traffic.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace olmoe::client::bench {
namespace {

constexpr absl::string_view kUnitPrefix = "u";

// Numbers that belong to request `index` of a run with `seed` alone.
eval::Random RandomOf(uint64_t seed, uint64_t index) {
  return eval::Random(eval::Random(seed ^ eval::Random(index).Next()).Next());
}

v1::TokenIds ToProto(const std::vector<uint32_t>& ids) {
  v1::TokenIds proto;
  proto.mutable_ids()->Add(ids.begin(), ids.end());
  return proto;
}

std::optional<UnitDraw> MakeUnits(const Traffic::Options& options) {
  if (options.units == 0) return std::nullopt;
  return UnitDraw(options.units, options.zipf);
}

}  // namespace

UnitDraw::UnitDraw(uint32_t count, bool zipf) : count_(count) {
  double sum = 0;
  for (uint32_t unit = 0; zipf && unit < count; ++unit) ends_.push_back(sum += 1.0 / (unit + 1));
}

uint32_t UnitDraw::Draw(eval::Random* random) const {
  if (ends_.empty()) return static_cast<uint32_t>(random->Below(count_));
  const double point = random->Uniform() * ends_.back();
  const auto end = std::upper_bound(ends_.begin(), ends_.end() - 1, point);
  return static_cast<uint32_t>(end - ends_.begin());
}

Traffic::Traffic(Options options, PromptMix mix)
    : options_(std::move(options)), mix_(std::move(mix)), units_(MakeUnits(options_)) {}

BenchRequest Traffic::Make(uint64_t index) const {
  eval::Random random = RandomOf(options_.seed, index);
  const Prompt drawn = options_.random_tokens > 0 ? RandomPrompt(&random) : mix_.Draw(&random);
  if (drawn.is_score) {
    v1::ScoreRequest request = MakeScore(drawn);
    Address(&random, &request);
    return request;
  }
  v1::GenerateRequest request = MakeGenerate(drawn, &random);
  Address(&random, &request);
  return request;
}

uint64_t Traffic::UnitOf(const BenchRequest& request, uint64_t index) {
  const std::string& id = std::visit(
      [](const auto& message) -> const std::string& { return message.unit_id(); }, request);
  absl::string_view digits = id;
  uint64_t unit = 0;
  return absl::ConsumePrefix(&digits, kUnitPrefix) && absl::SimpleAtoi(digits, &unit) ? unit
                                                                                      : index;
}

Prompt Traffic::RandomPrompt(eval::Random* random) const {
  Prompt prompt;
  for (uint32_t i = 0; i < options_.random_tokens; ++i) {
    prompt.ids.push_back(static_cast<uint32_t>(random->Below(options_.vocab_size)));
  }
  return prompt;
}

v1::GenerateRequest Traffic::MakeGenerate(const Prompt& prompt, eval::Random* random) const {
  v1::GenerateRequest request;
  if (prompt.ids.empty()) {
    request.set_text(prompt.text);
  } else {
    *request.mutable_tokens() = ToProto(prompt.ids);
  }
  request.set_max_new_tokens(prompt.max_new_tokens > 0 ? prompt.max_new_tokens
                                                       : options_.max_new_tokens);
  if (options_.temperature) request.mutable_sampling()->set_temperature(*options_.temperature);
  request.mutable_sampling()->set_seed(random->Next());
  request.set_ignore_eos(options_.ignore_eos);
  return request;
}

v1::ScoreRequest Traffic::MakeScore(const Prompt& prompt) const {
  v1::ScoreRequest request;
  v1::ScoreItem* item = request.add_items();
  const bool rolling = prompt.continuation.empty() && prompt.continuation_ids.empty();
  item->set_rolling(rolling);
  if (!rolling) {
    if (prompt.ids.empty()) {
      item->set_context_text(prompt.text);
    } else {
      *item->mutable_context_tokens() = ToProto(prompt.ids);
    }
  }
  const auto& ids = rolling ? prompt.ids : prompt.continuation_ids;
  if (ids.empty()) {
    item->set_continuation_text(rolling ? prompt.text : prompt.continuation);
  } else {
    *item->mutable_continuation_tokens() = ToProto(ids);
  }
  return request;
}

template <typename Request>
void Traffic::Address(eval::Random* random, Request* request) const {
  if (!options_.arm.empty()) request->mutable_routing()->set_arm_id(options_.arm);
  if (units_) request->set_unit_id(absl::StrCat(kUnitPrefix, units_->Draw(random)));
}

absl::Duration Arrivals::Next() {
  if (options_.constant) {
    // A product and not a sum, which would drift.
    return absl::Seconds(static_cast<double>(count_++) / options_.per_second);
  }
  // Intervals are exponential; 1 - u is never 0.
  seconds_ += -std::log(1 - random_.Uniform()) / options_.per_second;
  return absl::Seconds(seconds_);
}

}  // namespace olmoe::client::bench
