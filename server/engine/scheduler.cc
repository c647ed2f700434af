#include "server/engine/scheduler.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "glog/logging.h"
#include "server/engine/trace.h"

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
    : options_(options),
      page_tokens_(kv_cache.page_tokens),
      pages_(kv_cache),
      budget_(options.group_rows, options.itl_target) {
  CHECK_GE(options.max_sequences, 1);
  CHECK_GE(options.group_rows, 1);
}

void Scheduler::Add(LiveRequest* request) {
  CHECK(request->has_unstarted());
  waiting_.push_back(request);
}

void Scheduler::Remove(LiveRequest* request) {
  std::erase(waiting_, request);
  waits_.erase(request);
  std::erase_if(running_, [&](const std::unique_ptr<Sequence>& sequence) {
    if (sequence->request() != request) return false;
    GiveBack(*sequence);
    return true;
  });
  if (request->has_own_root()) prefixes_.Forget(request->cache_root());
}

void Scheduler::Release(Sequence* sequence) {
  const auto found = std::ranges::find(running_, sequence, &std::unique_ptr<Sequence>::get);
  CHECK(found != running_.end());
  GiveBack(*sequence);
  running_.erase(found);
}

void Scheduler::GiveBack(const Sequence& sequence) {
  std::erase_if(waits_, [&](const auto& wait) { return wait.second.producer == &sequence; });
  prefixes_.LetGo(sequence.kept());
  const auto own = std::span(sequence.pages()).subspan(sequence.kept().size());
  pages_.GiveBack({own.begin(), own.end()});
}

void Scheduler::Keep(const ScheduledChunk& chunk, const routing::RoutingRecord& record) {
  if (chunk.request->cache_root().empty()) return;
  const int prompt_rows = std::min(
      chunk.num_rows, static_cast<int>(chunk.sequence->prompt().size()) - chunk.first_position);
  if (prompt_rows <= 0) return;
  chunk.sequence->Keep(TraceRows({.experts = true},
                                 {.first_position = chunk.first_position,
                                  .first_row = chunk.first_row,
                                  .num_rows = prompt_rows},
                                 record, {}),
                       page_tokens_, &prefixes_);
}

void Scheduler::NextStep(ScheduledStep* step) {
  step->batch.chunks.clear();
  step->batch.page_copies.clear();
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
  BeginWaiting(step, &group);
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
    Candidate next = NextToBegin();
    if (next.request == nullptr || !next.request->runs_alone()) return false;
    alone = BeginSequence(std::move(next), step);
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

void Scheduler::BeginWaiting(ScheduledStep* step, Group* group) {
  while (!group->full()) {
    Candidate next = NextToBegin();
    if (next.request == nullptr || next.request->runs_alone()) return;
    group->Add(BeginSequence(std::move(next), step));
  }
}

Scheduler::Candidate Scheduler::NextToBegin() {
  if (static_cast<int>(running_.size()) >= options_.max_sequences) return {};
  for (LiveRequest* request : waiting_) {
    if (!MayRun(*request) || AwaitsProducer(request)) continue;
    PrefixTree::Match match = FindPrompt(*request);
    if (FindProducer(request, match)) continue;
    if (!HasPagesFor(*request, match)) return {};
    return {request, std::move(match)};
  }
  return {};
}

PrefixTree::Match Scheduler::FindPrompt(const LiveRequest& request) const {
  if (request.cache_root().empty()) return {};
  const LiveRequest::Prompt prompt = request.NextPrompt();
  int limit = prompt.reusable;
  if (prompt.scored && limit > 0) {
    // The last of the rows that are reused scores the token behind them.
    const PrefixTree::Match known =
        prefixes_.Find(request.cache_root(), prompt.tokens, limit + 1, /*scored=*/true);
    limit = std::min(limit, known.num_tokens - 1);
  }
  return prefixes_.Find(request.cache_root(), prompt.tokens, limit);
}

bool Scheduler::HasPagesFor(const LiveRequest& request, const PrefixTree::Match& match) const {
  const int wanted = pages_.PagesFor(request.NextPositions());
  return wanted - static_cast<int>(match.pages.size()) <=
         pages_.available() + prefixes_.num_idle() - match.num_idle;
}

Placement Scheduler::Place(const LiveRequest& request, PrefixTree::Match match,
                           ScheduledStep* step) {
  Placement placement;
  for (const PrefixNode* node : match.pages) {
    placement.pages.push_back(node->page);
    placement.cached.Append(node->trace);
  }
  std::optional<model::PageId> copied;
  if (match.partial != nullptr) {
    copied = match.partial->page;
    placement.cached.Append(match.partial->trace.Slice(0, match.partial_tokens));
  }
  if (const LiveRequest::Prompt prompt = request.NextPrompt(); prompt.scored) {
    placement.scores = PrefixTree::ScoresOf(
        prefixes_.Find(request.cache_root(), prompt.tokens, match.num_tokens + 1, /*scored=*/true));
  }
  prefixes_.Hold(match.pages);
  placement.kept = std::move(match.pages);
  const int own =
      pages_.PagesFor(request.NextPositions()) - static_cast<int>(placement.pages.size());
  // May take the copied page too, which still has what is copied: copies come before all writes.
  prefixes_.MakeRoom(own);
  const std::vector<model::PageId> pages = pages_.Take(own);
  if (copied.has_value() && *copied != pages.front()) {
    step->batch.page_copies.push_back({.from = *copied, .to = pages.front()});
  }
  placement.pages.insert(placement.pages.end(), pages.begin(), pages.end());
  return placement;
}

bool Scheduler::AwaitsProducer(const LiveRequest* request) {
  const auto wait = waits_.find(request);
  if (wait == waits_.end()) return false;
  const Sequence& producer = *wait->second.producer;
  if (producer.num_computed() < wait->second.positions && !IsPaused(*producer.request())) {
    return true;
  }
  waits_.erase(wait);
  return false;
}

bool Scheduler::FindProducer(const LiveRequest* request, const PrefixTree::Match& match) {
  if (request->cache_root().empty()) return false;
  const LiveRequest::Prompt prompt = request->NextPrompt();
  const auto wanted = prompt.tokens.first(static_cast<size_t>(std::max(0, prompt.reusable)));
  Wait best;
  for (const auto& sequence : running_) {
    const LiveRequest& other = *sequence->request();
    if (!sequence->in_prompt() || IsPaused(other)) continue;
    if (other.cache_root() != request->cache_root()) continue;
    if (prompt.scored && !sequence->scores_prompt()) continue;
    const auto end = std::ranges::mismatch(sequence->prompt(), wanted).in2;
    const int shared = static_cast<int>(end - wanted.begin());
    if (shared > best.positions) best = {sequence.get(), shared};
  }
  // Less than a page is not worth a wait.
  if (best.producer == nullptr || best.producer->num_computed() >= best.positions ||
      best.positions < match.num_tokens + page_tokens_) {
    return false;
  }
  waits_[request] = best;
  return true;
}

Sequence* Scheduler::BeginSequence(Candidate next, ScheduledStep* step) {
  LiveRequest* const request = next.request;
  Placement placement = Place(*request, std::move(next.match), step);
  if (request->state() == RequestState::kQueued) request->TransitionTo(RequestState::kRunning);
  running_.push_back(request->StartNext(std::move(placement)));
  std::erase(waiting_, request);
  if (request->has_unstarted()) waiting_.push_back(request);
  return running_.back().get();
}

}  // namespace olmoe::engine
