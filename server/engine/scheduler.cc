#include "server/engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"

namespace olmoe::engine {
namespace {

// A sequence that lacks no more than this part of the group to its end is not cut.
constexpr int kTailShare = 8;

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

int Scheduler::Options::MaxStepRows() const {
  return max_sequences + group_rows + group_rows / kTailShare;
}

class Scheduler::Group {
 public:
  Group(int rows, ScheduledStep* step) : tail_(rows / kTailShare), rows_left_(rows), step_(step) {}

  bool full() const { return rows_left_ == 0; }
  void Add(Sequence* sequence) {
    const int pending = sequence->num_pending();
    const int rows = pending <= rows_left_ + tail_ ? pending : rows_left_;
    AddChunk(sequence, rows, step_);
    rows_left_ = std::max(0, rows_left_ - rows);
  }

 private:
  const int tail_;
  int rows_left_;
  ScheduledStep* const step_;
};

Scheduler::Scheduler(const Options& options, const model::KvCacheShape& kv_cache)
    : options_(options), pages_(kv_cache), budget_(options.group_rows, options.itl_target) {
  CHECK_GE(options.max_sequences, 1);
  CHECK_GE(options.group_rows, 1);
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
  windows_yield_ = false;
  if (AddAlone(step)) return;
  AddDecodeRows(step);
  const bool somebody_decodes = !step->chunks.empty();
  windows_yield_ = somebody_decodes && score_debt_ > absl::ZeroDuration();
  Group group(somebody_decodes ? budget_.rows() : options_.group_rows, step);
  ContinueBegun(Phase::kPrefill, &group);
  ContinueBegun(Phase::kScore, &group);
  BeginWaiting(&group);
}

void Scheduler::OnStepDone(const ScheduledStep& step, absl::Duration step_time) {
  int decoding = 0;
  bool windows = false;
  for (const ScheduledChunk& chunk : step.chunks) {
    decoding += chunk.phase == Phase::kDecode ? 1 : 0;
    windows = windows || chunk.phase == Phase::kScore;
  }
  if (decoding == 0) return;
  if (step.num_rows > decoding) budget_.OnSharedStep(step.num_rows - decoding, step_time);
  score_debt_ = windows ? step_time : std::max(absl::ZeroDuration(), score_debt_ - step_time);
}

bool Scheduler::MayRun(const LiveRequest& request) const {
  return !IsPaused(request) && !(windows_yield_ && request.scores());
}

bool Scheduler::AddAlone(ScheduledStep* step) {
  Sequence* alone = nullptr;
  for (const auto& sequence : running_) {
    const LiveRequest& request = *sequence->request();
    if (alone == nullptr && request.runs_alone() && MayRun(request)) alone = sequence.get();
  }
  if (alone == nullptr) {
    LiveRequest* const next = NextToBegin();
    if (next == nullptr || !next->runs_alone()) return false;
    alone = BeginSequence(next);
  }
  Group(options_.group_rows, step).Add(alone);
  return true;
}

void Scheduler::AddDecodeRows(ScheduledStep* step) {
  for (const auto& sequence : running_) {
    if (IsPaused(*sequence->request()) || sequence->phase() != Phase::kDecode) continue;
    AddChunk(sequence.get(), /*num_rows=*/1, step);
  }
}

void Scheduler::ContinueBegun(Phase phase, Group* group) {
  for (const auto& sequence : running_) {
    if (group->full()) return;
    if (sequence->phase() == phase && MayRun(*sequence->request())) group->Add(sequence.get());
  }
}

void Scheduler::BeginWaiting(Group* group) {
  while (!group->full()) {
    LiveRequest* const request = NextToBegin();
    if (request == nullptr || request->runs_alone()) return;
    group->Add(BeginSequence(request));
  }
}

LiveRequest* Scheduler::NextToBegin() const {
  if (static_cast<int>(running_.size()) >= options_.max_sequences) return nullptr;
  const auto next = std::ranges::find_if(
      waiting_, [this](const LiveRequest* request) { return MayRun(*request); });
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
