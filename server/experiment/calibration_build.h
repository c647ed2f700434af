#ifndef OLMOE_SERVER_EXPERIMENT_CALIBRATION_BUILD_H_
#define OLMOE_SERVER_EXPERIMENT_CALIBRATION_BUILD_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/engine/engine.h"
#include "server/engine/request.h"
#include "server/engine/token_sink.h"
#include "server/experiment/engine_request.h"
#include "server/experiment/serving.h"
#include "server/routing/calibration.h"
#include "server/routing/calibration_builder.h"
#include "server/util/token_id.h"

namespace olmoe::experiment {

// What a calibration is built from; every field is in range.
struct CalibrationInput {
  std::string calibration_id;
  int trim_top = 0;
  // From texts: what is to be scored, in groups small enough to hold the router logits
  // of one in memory. Empty: from live tokens.
  std::vector<std::vector<engine::ScoreWindow>> groups;
  uint64_t live_tokens = 0;
  std::vector<std::string> arm_ids;
};

// Windows whose rows are exactly `tokens`, at most max_context each: the last token of a
// window is one that is only a target and has no row.
std::vector<engine::ScoreWindow> CalibrationWindows(std::span<const TokenId> tokens,
                                                    int max_context);

// Consecutive windows together, as many as have at most `max_rows` rows; one at least.
std::vector<std::vector<engine::ScoreWindow>> GroupWindows(std::vector<engine::ScoreWindow> windows,
                                                           int max_rows);

// Counts the router logits of tokens, at most `max_tokens`. One user at a time.
class LogitCollector {
 public:
  // `shape` and `trim_top` are in range (CHECK).
  LogitCollector(const routing::RouterShape& shape, int trim_top, uint64_t max_tokens);

  // Rows as the engine gives them. [layers][num_rows][experts]. False: that was enough.
  bool AddRows(std::span<const float> router_logits, int num_rows);
  // A trace of a window. [positions][layers][experts]
  void AddTrace(const engine::RoutingTrace& trace);

  // Errors: FAILED_PRECONDITION where nothing was collected.
  absl::StatusOr<std::shared_ptr<const routing::Calibration>> Build(std::string id) const {
    return builder_.Build(std::move(id));
  }

 private:
  void Add(int layer, std::span<const float> logits);

  const routing::RouterShape shape_;
  const uint64_t max_tokens_;
  uint64_t num_tokens_ = 0;
  routing::CalibrationBuilder builder_;
};

// Collects the router logits that a calibration is made of.
//
// From texts: one score request after the other, each of one group of windows and with a
// trace of its router logits, as an inline policy that is the model's own routing; so it
// takes its turn like any other request, and no more than one group is in memory. From
// live tokens: a tap of the engine. Either way what is collected is counted on the
// engine's thread.
//
// Start, then callbacks of the engine, then `done`: one chain. Cancel comes at any time, on any
// thread, and only stops the engine's part. Shared with the engine while that delivers.
class CalibrationBuild final : public engine::ScoreSink,
                               public std::enable_shared_from_this<CalibrationBuild> {
 public:
  // How the collecting ended; on the engine's thread, or in Start.
  using Done = std::function<void(const absl::Status&)>;

  // `client`: see EngineRequest.
  CalibrationBuild(const Serving* serving, std::string client, CalibrationInput input);

  // Leads to one call of `done`.
  void Start(absl::Time deadline, Done done) ABSL_LOCKS_EXCLUDED(mu_);
  void Cancel() ABSL_LOCKS_EXCLUDED(mu_);
  // After `done` with OK. Errors: FAILED_PRECONDITION where nothing was collected.
  absl::StatusOr<std::shared_ptr<const routing::Calibration>> Build() const {
    return collector_.Build(input_.calibration_id);
  }

  // engine::ScoreSink, engine thread.
  engine::Flow OnScores(engine::WindowScores scores) override;
  void OnDone(const engine::Completion& completion) override;

 private:
  // Submits the next group of texts.
  absl::Status SubmitNext() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Tap() ABSL_LOCKS_EXCLUDED(mu_);
  void End(const absl::Status& status);

  const Serving* const serving_;
  const std::string client_;

  // Of the chain.
  CalibrationInput input_;
  absl::Time deadline_ = absl::InfiniteFuture();
  Done done_;  // until it was called
  size_t next_group_ = 0;
  LogitCollector collector_;

  absl::Mutex mu_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  std::shared_ptr<EngineRequest> request_ ABSL_GUARDED_BY(mu_);  // the one submitted last
  std::optional<engine::TapHandle> tap_ ABSL_GUARDED_BY(mu_);
};

}  // namespace olmoe::experiment

#endif  // OLMOE_SERVER_EXPERIMENT_CALIBRATION_BUILD_H_
