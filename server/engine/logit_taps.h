#ifndef OLMOE_SERVER_ENGINE_LOGIT_TAPS_H_
#define OLMOE_SERVER_ENGINE_LOGIT_TAPS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/engine/scheduler.h"
#include "server/model/model.h"

namespace olmoe::engine {

// Names a tap that an engine has accepted. Never 0, never used twice.
using TapHandle = uint64_t;

// Somebody who wants the router logits of other people's requests as they are computed.
// Those requests never learn of it: what they are given stays the same, bit for bit.
struct LogitTap {
  std::vector<std::string> arm_ids;  // whose; empty: of all arms
  absl::Time deadline = absl::InfiniteFuture();

  // Rows of one sequence that were routed in every layer: [layers][num_rows][experts].
  // Engine thread, so it must not block. False: enough, `on_done` follows with OK.
  std::function<bool(std::span<const float> router_logits, int num_rows)> on_rows;
  // The last call, exactly once. OK; what Untap said; DEADLINE_EXCEEDED; UNAVAILABLE when
  // the engine drains. Engine thread, never under a lock of the engine.
  std::function<void(absl::Status)> on_done;
};

// The taps of an engine. While there is none, no step computes anything for them. Engine
// thread only.
class LogitTaps {
 public:
  // `on_ended` is called after the on_done of each tap.
  explicit LogitTaps(std::function<void()> on_ended) : on_ended_(std::move(on_ended)) {}

  void Add(TapHandle handle, LogitTap tap) { taps_.emplace(handle, std::move(tap)); }
  // An unknown handle is ignored.
  void End(TapHandle handle, absl::Status status);
  // With UNAVAILABLE.
  void EndAll();
  void EndExpired(absl::Time now);
  // The earliest deadline.
  absl::Time NextDue() const;

  // Asks for the router logits of the chunks that somebody taps.
  void Ask(ScheduledStep* step) const;
  // What came of a chunk; the engine's own use of `output` comes after.
  void Deliver(const ScheduledChunk& chunk, const model::ChunkOutput& output);

 private:
  const std::function<void()> on_ended_;
  std::map<TapHandle, LogitTap> taps_;
};

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_LOGIT_TAPS_H_
