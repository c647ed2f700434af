#include "server/engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"

namespace olmoe::engine {
namespace {

bool IsPaused(const LiveRequest& request) { return request.state() == RequestState::kPaused; }

void AddChunk(Sequence* sequence, int num_rows, ScheduledStep* step) {
  step->chunks.push_back({.sequence = sequence,
                          .request = sequence->request(),
                          .phase = sequence->phase(),
                          .first_position = sequence->num_computed(),
                          .first_row = step->num_rows,
                          .num_rows = num_rows});
  step->batch.chunks.push_back(sequence->NextChunk(num_rows));
  step->num_rows += num_rows;
}

}  // namespace

Scheduler::Scheduler(int max_sequences, int max_tokens, const model::KvCacheShape& kv_cache)
    : max_sequences_(max_sequences), max_tokens_(max_tokens), pages_(kv_cache) {
  CHECK_GE(max_sequences, 1);
  CHECK_GE(max_tokens, max_sequences);
}

void Scheduler::Add(LiveRequest* request) {
  CHECK(request->has_unstarted());
  waiting_.push_back(request);
}

void Scheduler::Remove(LiveRequest* request) {
  std::erase(waiting_, request);
  std::erase_if(running_, [&](const std::unique_ptr<Sequence>& sequence) {
    if (sequence->request() != request) return false;
    pages_.GiveBack(sequence->pages());
    return true;
  });
}

void Scheduler::Release(Sequence* sequence) {
  const auto found = std::ranges::find(running_, sequence, &std::unique_ptr<Sequence>::get);
  CHECK(found != running_.end());
  pages_.GiveBack(sequence->pages());
  running_.erase(found);
}

void Scheduler::NextStep(ScheduledStep* step) {
  step->batch.chunks.clear();
  step->chunks.clear();
  step->num_rows = 0;
  AddDecodeRows(step);
  ContinueBegun(step);
  BeginWaiting(step);
}

void Scheduler::AddDecodeRows(ScheduledStep* step) {
  for (const auto& sequence : running_) {
    if (IsPaused(*sequence->request()) || sequence->phase() != Phase::kDecode) continue;
    AddChunk(sequence.get(), /*num_rows=*/1, step);
  }
}

void Scheduler::ContinueBegun(ScheduledStep* step) {
  for (const auto& sequence : running_) {
    if (RowsLeft(*step) == 0) return;
    if (IsPaused(*sequence->request()) || sequence->phase() == Phase::kDecode) continue;
    AddChunk(sequence.get(), std::min(sequence->num_pending(), RowsLeft(*step)), step);
  }
}

void Scheduler::BeginWaiting(ScheduledStep* step) {
  while (RowsLeft(*step) > 0 && static_cast<int>(running_.size()) < max_sequences_) {
    const auto next = std::ranges::find_if_not(
        waiting_, [](const LiveRequest* request) { return IsPaused(*request); });
    if (next == waiting_.end()) return;
    LiveRequest* const request = *next;
    if (pages_.PagesFor(request->NextPositions()) > pages_.available()) return;
    waiting_.erase(next);
    Sequence* const sequence = BeginSequence(request);
    AddChunk(sequence, std::min(sequence->num_pending(), RowsLeft(*step)), step);
    if (request->has_unstarted()) waiting_.push_back(request);
  }
}

Sequence* Scheduler::BeginSequence(LiveRequest* request) {
  std::vector<model::PageId> pages = pages_.Take(pages_.PagesFor(request->NextPositions()));
  if (request->state() == RequestState::kQueued) request->TransitionTo(RequestState::kRunning);
  running_.push_back(request->StartNext(std::move(pages)));
  return running_.back().get();
}

}  // namespace olmoe::engine
