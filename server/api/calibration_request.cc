#include "server/api/calibration_request.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/api/request_errors.h"
#include "server/api/request_fields.h"
#include "server/routing/calibration.h"
#include "server/routing/controller.h"
#include "server/routing/field_checks.h"
#include "server/stats/arm_table.h"

namespace olmoe::api {
namespace {

constexpr int kMaxTexts = 10'000;
constexpr uint64_t kMaxLiveTokens = 1'000'000'000;
// 16 layers of 64 experts: 16 MiB of router logits, twice while they are handed on.
constexpr int kMaxGroupRows = 4096;

void ParseTexts(const v1::BuildCalibrationRequest::Texts& texts, const experiment::Serving& serving,
                experiment::CalibrationInput* input, RequestErrors* errors) {
  if (texts.texts_size() < 1 || texts.texts_size() > kMaxTexts) {
    errors->Add("texts.texts",
                absl::StrCat("must have 1..", kMaxTexts, " texts, has ", texts.texts_size()));
    return;
  }
  std::vector<engine::ScoreWindow> windows;
  for (int i = 0; i < texts.texts_size(); ++i) {
    const std::string field = absl::StrCat("texts.texts[", i, "]");
    if (texts.texts(i).empty()) {
      errors->Add(field, "must not be empty");
      continue;
    }
    auto made = experiment::CalibrationWindows(
        EncodeText(texts.texts(i), field, false, serving, errors), serving.model.max_context);
    windows.insert(windows.end(), std::make_move_iterator(made.begin()),
                   std::make_move_iterator(made.end()));
  }
  if (windows.empty() && errors->empty()) {
    errors->Add("texts.texts", "must have at least one token");
  }
  input->groups = experiment::GroupWindows(std::move(windows),
                                           std::min(kMaxGroupRows, serving.model.max_context));
}

// An arm that does not exist would never have a token.
void CheckArm(const std::string& arm_id, const std::string& field,
              const experiment::Serving& serving, RequestErrors* errors) {
  if (arm_id == routing::kInlineArm) return;
  const auto plan = serving.controller->slot().Current();
  const auto& arms = plan->arms();
  if (std::ranges::find(arms, arm_id, &routing::Arm::arm_id) != arms.end()) return;
  std::vector<FieldViolation> violations;
  routing::CheckName(arm_id, field, &violations);
  if (violations.empty()) {
    errors->Add(field, absl::StrCat("is not an arm of the current plan: ", arm_id));
  } else {
    errors->Add(field, violations[0].description);
  }
}

void ParseLive(const v1::BuildCalibrationRequest& request, const experiment::Serving& serving,
               experiment::CalibrationInput* input, RequestErrors* errors) {
  const v1::BuildCalibrationRequest::LiveTokens& live = request.live();
  input->live_tokens = live.tokens();
  if (live.tokens() < 1 || live.tokens() > kMaxLiveTokens) {
    errors->Add("live.tokens", absl::StrCat("must be 1..", kMaxLiveTokens, ", is ", live.tokens()));
  }
  if (static_cast<size_t>(live.arm_ids_size()) > stats::kMaxArmsKept) {
    errors->Add("live.arm_ids", absl::StrCat("must have at most ", stats::kMaxArmsKept,
                                             " arms, has ", live.arm_ids_size()));
    return;
  }
  for (int i = 0; i < live.arm_ids_size(); ++i) {
    CheckArm(live.arm_ids(i), absl::StrCat("live.arm_ids[", i, "]"), serving, errors);
  }
  input->arm_ids.assign(live.arm_ids().begin(), live.arm_ids().end());
  if (serving.calibrations->Find(request.calibration_id()) != nullptr) {
    errors->Add(absl::AlreadyExistsError(
        absl::StrCat("calibration \"", request.calibration_id(), "\" exists")));
  }
}

void ParseSource(const v1::BuildCalibrationRequest& request, const experiment::Serving& serving,
                 experiment::CalibrationInput* input, RequestErrors* errors) {
  switch (request.source_case()) {
    case v1::BuildCalibrationRequest::kTexts:
      return ParseTexts(request.texts(), serving, input, errors);
    case v1::BuildCalibrationRequest::kLive: return ParseLive(request, serving, input, errors);
    case v1::BuildCalibrationRequest::SOURCE_NOT_SET: break;
  }
  errors->Add("source", "texts or live must be set");
}

}  // namespace

absl::StatusOr<experiment::CalibrationInput> ParseBuildCalibration(
    const v1::BuildCalibrationRequest& request, const experiment::Serving& serving) {
  RequestErrors errors;
  experiment::CalibrationInput input;
  input.calibration_id = request.calibration_id();
  std::vector<FieldViolation> violations;
  routing::CheckLongName(request.calibration_id(), "calibration_id", &violations);
  for (FieldViolation& violation : violations) {
    errors.Add(std::move(violation.field), std::move(violation.description));
  }
  // At least two logits of every token are left.
  const int max_trim = std::max(0, serving.model.num_experts - 2);
  if (request.trim_top() > static_cast<uint32_t>(max_trim)) {
    errors.Add("trim_top", absl::StrCat("must be 0..", max_trim, ", is ", request.trim_top()));
  }
  input.trim_top = static_cast<int>(request.trim_top());
  ParseSource(request, serving, &input, &errors);
  if (!errors.empty()) return errors.ToStatus();
  return input;
}

}  // namespace olmoe::api
