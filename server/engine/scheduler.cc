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
  if (AddAlone(step)) return;
  AddDecodeRows(step);
  ContinueBegun(step);
  BeginWaiting(step);
}

bool Scheduler::AddAlone(ScheduledStep* step) {
  Sequence* alone = nullptr;
  for (const auto& sequence : running_) {
    const LiveRequest& request = *sequence->request();
    if (alone == nullptr && request.runs_alone() && !IsPaused(request)) alone = sequence.get();
  }
  if (alone == nullptr) {
    LiveRequest* const next = NextToBegin();
    if (next == nullptr || !next->runs_alone()) return false;
    alone = BeginSequence(next);
  }
  AddChunk(alone, std::min(alone->num_pending(), max_tokens_), step);
  return true;
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
  while (RowsLeft(*step) > 0) {
    LiveRequest* const request = NextToBegin();
    if (request == nullptr || request->runs_alone()) return;
    Sequence* const sequence = BeginSequence(request);
    AddChunk(sequence, std::min(sequence->num_pending(), RowsLeft(*step)), step);
  }
}

LiveRequest* Scheduler::NextToBegin() {
  if (static_cast<int>(running_.size()) >= max_sequences_) return nullptr;
  const auto next = std::ranges::find_if_not(
      waiting_, [](const LiveRequest* request) { return IsPaused(*request); });
  if (next == waiting_.end()) return nullptr;
  return pages_.PagesFor((*next)->NextPositions()) <= pages_.available() ? *next : nullptr;
}

Sequence* Scheduler::BeginSequence(LiveRequest* request) {
  std::vector<model::PageId> pages = pages_.Take(pages_.PagesFor(request->NextPositions()));
  if (request->state() == RequestState::kQueued) request->TransitionTo(RequestState::kRunning);
  running_.push_back(request->StartNext(std::move(pages)));
  std::erase(waiting_, request);
  if (request->has_unstarted()) waiting_.push_back(request);
  return running_.back().get();
}

}  // namespace olmoe::engine
