#include "server/engine/logit_taps.h"

#include <algorithm>
#include <utility>

namespace olmoe::engine {
namespace {

bool Wants(const LogitTap& tap, const ScheduledChunk& chunk) {
  return tap.arm_ids.empty() ||
         std::ranges::find(tap.arm_ids, chunk.request->request().assignment.arm_id) !=
             tap.arm_ids.end();
}

}  // namespace

void LogitTaps::End(TapHandle handle, absl::Status status) {
  const auto node = taps_.extract(handle);
  if (node.empty()) return;
  node.mapped().on_done(std::move(status));
  on_ended_();
}

void LogitTaps::EndAll() {
  while (!taps_.empty()) {
    End(taps_.begin()->first, absl::UnavailableError("the server is shutting down"));
  }
}

void LogitTaps::EndExpired(absl::Time now) {
  std::vector<TapHandle> expired;
  for (const auto& [handle, tap] : taps_) {
    if (tap.deadline <= now) expired.push_back(handle);
  }
  for (const TapHandle handle : expired) {
    End(handle, absl::DeadlineExceededError("the deadline passed before there was enough"));
  }
}

absl::Time LogitTaps::NextDue() const {
  absl::Time due = absl::InfiniteFuture();
  for (const auto& [handle, tap] : taps_) due = std::min(due, tap.deadline);
  return due;
}

void LogitTaps::Ask(ScheduledStep* step) const {
  if (taps_.empty()) return;
  for (size_t i = 0; i < step->chunks.size(); ++i) {
    const auto wants = [&](const auto& entry) { return Wants(entry.second, step->chunks[i]); };
    if (std::ranges::any_of(taps_, wants)) step->batch.chunks[i].router_logits = true;
  }
}

void LogitTaps::Deliver(const ScheduledChunk& chunk, const model::ChunkOutput& output) {
  // A chunk that failed has rows that were not routed.
  if (taps_.empty() || !output.status.ok()) return;
  std::vector<TapHandle> satisfied;
  for (auto& [handle, tap] : taps_) {
    if (!Wants(tap, chunk)) continue;
    if (!tap.on_rows(output.router_logits, chunk.num_rows)) satisfied.push_back(handle);
  }
  for (const TapHandle handle : satisfied) End(handle, absl::OkStatus());
}

}  // namespace olmoe::engine
