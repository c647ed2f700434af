#include "server/experiment/calibration_build.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"
#include "server/routing/controller.h"
#include "server/util/interrupt.h"
#include "server/util/random.h"

namespace olmoe::experiment {

std::vector<engine::ScoreWindow> CalibrationWindows(std::span<const TokenId> tokens,
                                                    int max_context) {
  std::vector<engine::ScoreWindow> windows;
  while (!tokens.empty()) {
    const size_t rows = std::min(tokens.size(), static_cast<size_t>(max_context));
    engine::ScoreWindow& window = windows.emplace_back();
    window.tokens.assign(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(rows));
    window.tokens.push_back(tokens[0]);
    window.first_scored = static_cast<int>(rows);
    tokens = tokens.subspan(rows);
  }
  return windows;
}

std::vector<std::vector<engine::ScoreWindow>> GroupWindows(std::vector<engine::ScoreWindow> windows,
                                                           int max_rows) {
  std::vector<std::vector<engine::ScoreWindow>> groups;
  int rows = 0;
  for (engine::ScoreWindow& window : windows) {
    const int more = engine::KvPositions(window);
    if (groups.empty() || rows + more > max_rows) {
      groups.emplace_back();
      rows = 0;
    }
    rows += more;
    groups.back().push_back(std::move(window));
  }
  return groups;
}

LogitCollector::LogitCollector(const routing::RouterShape& shape, int trim_top, uint64_t max_tokens)
    : shape_(shape),
      max_tokens_(max_tokens),
      builder_(*routing::CalibrationBuilder::Create(shape, trim_top)) {}

void LogitCollector::Add(int layer, std::span<const float> logits) {
  // Rows with NaN or infinity are not routed, and the engine gives only routed ones.
  const absl::Status status = builder_.AddRow(layer, logits);
  CHECK(status.ok()) << status;
}

bool LogitCollector::AddRows(std::span<const float> router_logits, int num_rows) {
  const size_t experts = static_cast<size_t>(shape_.num_experts);
  const size_t rows = static_cast<size_t>(num_rows);
  CHECK_EQ(router_logits.size(), static_cast<size_t>(shape_.num_layers) * rows * experts);
  const size_t wanted = std::min<uint64_t>(rows, max_tokens_ - num_tokens_);
  for (int layer = 0; layer < shape_.num_layers; ++layer) {
    for (size_t row = 0; row < wanted; ++row) {
      const size_t at = (static_cast<size_t>(layer) * rows + row) * experts;
      Add(layer, router_logits.subspan(at, experts));
    }
  }
  num_tokens_ += wanted;
  return num_tokens_ < max_tokens_;
}

void LogitCollector::AddTrace(const engine::RoutingTrace& trace) {
  const size_t experts = static_cast<size_t>(shape_.num_experts);
  const size_t layers = static_cast<size_t>(shape_.num_layers);
  CHECK_EQ(trace.logits.size(), static_cast<size_t>(trace.num_positions) * layers * experts);
  for (size_t i = 0; i * experts < trace.logits.size(); ++i) {
    Add(static_cast<int>(i % layers), std::span(trace.logits).subspan(i * experts, experts));
  }
}

CalibrationBuild::CalibrationBuild(const Serving* serving, std::string client,
                                   CalibrationInput input)
    : serving_(serving),
      client_(std::move(client)),
      input_(std::move(input)),
      collector_(serving->controller->shape(), input_.trim_top, input_.live_tokens) {}

void CalibrationBuild::Start(absl::Time deadline, Done done) {
  deadline_ = deadline;
  done_ = std::move(done);
  const absl::Status status = input_.groups.empty() ? Tap() : SubmitNext();
  if (!status.ok()) End(status);
}

absl::Status CalibrationBuild::SubmitNext() {
  engine::ScoreWork work;
  work.windows = std::move(input_.groups[next_group_++]);
  work.trace.logits = true;
  RoutingChoice choice;
  choice.inline_policy = serving_->controller->native_policy();
  auto request = std::make_shared<EngineRequest>(serving_, "BuildCalibration", client_);
  absl::Status status = request->Admit(choice, NewRequestId());
  if (!status.ok()) return status;
  {
    absl::MutexLock lock(&mu_);
    if (cancelled_) return absl::CancelledError("cancelled by the client");
    request_ = request;
  }
  status = request->Submit(std::move(work), deadline_, shared_from_this());
  if (!status.ok()) request->Report(status, nullptr);
  return status;
}

engine::Flow CalibrationBuild::OnScores(engine::WindowScores scores) {
  collector_.AddTrace(scores.trace);
  return engine::Flow::kContinue;
}

void CalibrationBuild::OnDone(const engine::Completion& completion) {
  std::shared_ptr<EngineRequest> request;
  {
    absl::MutexLock lock(&mu_);
    request = request_;
  }
  request->Report(completion.status, &completion);
  absl::Status status = completion.status;
  if (status.ok() && next_group_ < input_.groups.size()) {
    status = SubmitNext();
    if (status.ok()) return;
  }
  End(status);
}

// What is called may hold this build: it is let go.
void CalibrationBuild::End(const absl::Status& status) { std::exchange(done_, nullptr)(status); }

absl::Status CalibrationBuild::Tap() {
  const auto build = shared_from_this();
  engine::LogitTap tap;
  tap.arm_ids = input_.arm_ids;
  tap.deadline = deadline_;
  tap.on_rows = [build](std::span<const float> router_logits, int num_rows) {
    return build->collector_.AddRows(router_logits, num_rows);
  };
  tap.on_done = [build](const absl::Status& status) { build->End(status); };
  absl::MutexLock lock(&mu_);
  if (cancelled_) return absl::CancelledError("cancelled by the client");
  const auto handle = serving_->engine->Tap(std::move(tap));
  if (handle.ok()) tap_ = *handle;
  return handle.status();
}

void CalibrationBuild::Cancel() {
  std::shared_ptr<EngineRequest> request;
  std::optional<engine::TapHandle> tap;
  {
    absl::MutexLock lock(&mu_);
    cancelled_ = true;
    request = request_;
    tap = tap_;
  }
  if (request != nullptr) request->Cancel();
  if (tap) serving_->engine->Untap(*tap, CancelledAt(deadline_));
}

}  // namespace olmoe::experiment
