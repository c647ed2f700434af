#include "server/routing/rule_words.h"

#include <optional>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "server/routing/rule_fields.h"

namespace olmoe::routing {
namespace {

std::string PartWords(const Bounds& bounds) {
  const auto& [min_k, max_k] = bounds;
  if (min_k && max_k) return absl::StrCat(", ", *min_k, " to ", *max_k, " experts");
  if (min_k) return absl::StrCat(", at least ", *min_k);
  if (max_k) return absl::StrCat(", at most ", *max_k);
  return "";
}

std::string PartWords(const PValueSource& p_values) {
  std::string words = p_values.kind == PValueKind::kOneMinusProb
                          ? ", p = 1 - probability"
                          : absl::StrCat(", calibration ", p_values.calibration_id);
  if (p_values.temperature != 1) absl::StrAppend(&words, ", temperature ", p_values.temperature);
  return words;
}

std::string PartWords(const MaybePValues& p_values) {
  return p_values.calibration_id.empty() ? ""
                                         : absl::StrCat(", calibration ", p_values.calibration_id);
}

// What a rule must have belongs to its name: "top 4". What it may have is named.
template <class Value>
std::string FieldWords(const char*, const Value& value) {
  return absl::StrCat(" ", value);
}
template <class Value>
std::string FieldWords(const char* name, const std::optional<Value>& value) {
  if (!value) return "";
  return absl::StrCat(", ", absl::StrReplaceAll(name, {{"_", " "}}), " ", *value);
}

template <class Kind>
std::string KindWords(const Kind& kind) {
  std::string words = Description<Kind>::kWords;
  ForEachEntry(
      kind, [&](const auto& field, const auto& value) { words += FieldWords(field.name, value); },
      [&](const auto& part) { words += PartWords(part); });
  return words;
}

const char* WeightWords(WeightMode mode) {
  switch (mode) {
    case WeightMode::kModelDefault: return "";
    case WeightMode::kNative: return ", weights as they are";
    case WeightMode::kSumToOne: return ", weights sum to 1";
    case WeightMode::kMatchTopKMass: return ", weights scaled to the top-k mass";
  }
  return "";
}

std::string IdWords(const char* before, const std::vector<uint32_t>& ids) {
  return ids.empty() ? "" : absl::StrCat(before, DescribeIds(ids));
}

std::string AdjustWords(const Adjust& adjust) {
  std::string words;
  if (adjust.bias) {
    words +=
        adjust.bias->scope == BiasScope::kSelect ? ", logits biased to select" : ", logits biased";
  }
  if (adjust.steer) {
    words += IdWords(", steered toward ", adjust.steer->toward);
    words += IdWords(", steered away from ", adjust.steer->away);
    if (adjust.steer->epsilon != Steer().epsilon) {
      absl::StrAppend(&words, ", by ", adjust.steer->epsilon);
    }
  }
  if (adjust.noise) absl::StrAppend(&words, ", noise ", adjust.noise->tau);
  words += IdWords(", without ", adjust.ban);
  if (!adjust.ban.empty() && adjust.ban_mass == BanMass::kKeep) words += " (mass kept)";
  return words += IdWords(", always with ", adjust.force);
}

}  // namespace

std::string DescribeRule(const Rule& rule) {
  return std::visit([](const auto& kind) { return KindWords(kind); }, rule.kind)
      .append(WeightWords(rule.weight_mode))
      .append(AdjustWords(rule.adjust));
}

std::string DescribeNative(int default_k) {
  return absl::StrCat("the model's own top ", default_k);
}

std::string DescribeIds(const std::vector<uint32_t>& ids) {
  std::string words;
  for (size_t begin = 0, end = 0; begin < ids.size(); begin = end) {
    end = begin + 1;
    while (end < ids.size() && ids[end] == ids[end - 1] + 1) ++end;
    absl::StrAppend(&words, words.empty() ? "" : ", ", ids[begin]);
    if (end - begin > 1) absl::StrAppend(&words, "-", ids[end - 1]);
  }
  return words;
}

}  // namespace olmoe::routing
