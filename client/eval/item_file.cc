#include "client/eval/item_file.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace olmoe::client::eval {
namespace {

using nlohmann::ordered_json;

ordered_json Item(const UnitResult& result, const EvalUnit& unit, uint32_t num_layers) {
  const bool asked = result.skipped == 0;
  const auto number = [](bool applies, auto value) {
    return applies ? ordered_json(value) : ordered_json();
  };
  const bool judged = asked && unit.choice.has_value();
  const double slots = static_cast<double>(result.rows) * num_layers;
  ordered_json out;
  out["tokens"] = number(asked, result.tokens);
  out["bytes"] = number(asked, result.bytes);
  out["logprob_sum"] = number(asked, -result.nll);
  out["label"] = unit.choice ? ordered_json(unit.choice->label) : ordered_json();
  out["choice"] = number(judged, result.choice);
  out["correct"] = number(judged, result.correct > 0);
  out["correct_norm"] = number(judged, result.correct_norm > 0);
  out["experts_per_token"] = number(asked, static_cast<double>(result.activations) / slots);
  const bool analyzed = result.analyzed_slots > 0;
  out["analyzed_experts_per_token"] = number(analyzed, result.AnalyzedExperts());
  out["analyzed_overlap"] = number(analyzed, result.AnalyzedOverlap());
  out["skipped"] = !asked;
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ItemFile>> ItemFile::Create(const std::string& path) {
  auto file = std::unique_ptr<ItemFile>(new ItemFile(path));
  if (file->file_) return file;
  return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be written"));
}

absl::Status ItemFile::Add(const Dataset& dataset, const Subject& subject,
                           std::span<const UnitResult> units, uint32_t num_layers) {
  for (size_t i = 0; i < units.size(); ++i) {
    ordered_json line = {{"data", dataset.name},
                         {"policy", subject.name},
                         {"policy_digest", subject.digest},
                         {"item", i},
                         {"kind", dataset.is_choice ? "multiple_choice" : "text"}};
    line.update(Item(units[i], dataset.units[i], num_layers));
    file_ << line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << '\n';
  }
  if (file_.flush()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path_, ": cannot be written"));
}

}  // namespace olmoe::client::eval
