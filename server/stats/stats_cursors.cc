#include "server/stats/stats_cursors.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/util/status_details.h"

namespace olmoe::stats {
namespace {

constexpr size_t kRunDigits = 16;

std::string RunName(uint64_t run) { return absl::StrFormat("%016x", run); }

size_t BytesOf(const std::vector<ExpertCounts>& all) {
  size_t bytes = 0;
  for (const ExpertCounts& counts : all) {
    bytes += sizeof(counts);
    for (const LayerCounts& layer : counts.layers) {
      bytes += sizeof(layer) +
               sizeof(uint64_t) * (layer.expert_tokens.size() + layer.experts_per_token.size());
    }
  }
  return bytes;
}

// "<run>-<id>", the id not 0.
struct CursorParts {
  std::string run;
  uint64_t id;
};
std::optional<CursorParts> Split(std::string_view cursor) {
  if (cursor.size() <= kRunDigits + 1 || cursor[kRunDigits] != '-') return std::nullopt;
  CursorParts parts{std::string(cursor.substr(0, kRunDigits)), 0};
  const std::string digits(cursor.substr(kRunDigits + 1));
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto is_hex = [&](char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); };
  if (!std::all_of(parts.run.begin(), parts.run.end(), is_hex) ||
      !std::all_of(digits.begin(), digits.end(), is_digit) ||
      !absl::SimpleAtoi(digits, &parts.id) || parts.id == 0) {
    return std::nullopt;
  }
  return parts;
}

absl::Status Expired(std::string_view why, std::string_view field) {
  return WithPrecondition(
      absl::FailedPreconditionError(absl::StrCat(std::string(field), ": ", std::string(why),
                                                 "; begin anew without a cursor")),
      "CURSOR_EXPIRED", field);
}

size_t BytesOfDistinct(const std::vector<const std::vector<ExpertCounts>*>& all) {
  size_t bytes = 0;
  for (const auto* counts : std::set(all.begin(), all.end())) bytes += BytesOf(*counts);
  return bytes;
}

using SeriesKey = std::tuple<uint64_t, DecisionKind, engine::Phase>;

void Subtract(const std::vector<LayerCounts>& from, std::vector<LayerCounts>* layers) {
  for (size_t layer = 0; layer < from.size(); ++layer) (*layers)[layer] -= from[layer];
}

// What was counted between two snapshots of one ExpertStats; entries without a token are
// left out. Exact also where a policy's counts have meanwhile been summed into its arm's
// earlier ones. Of an arm that was given up in between, only what it counted after it came
// back. Pure.
std::vector<ExpertCounts> CountsSince(const std::vector<ExpertCounts>& now,
                                      const std::vector<ExpertCounts>& before) {
  std::vector<ExpertCounts> out = now;
  std::map<SeriesKey, ExpertCounts*> by_series;
  for (ExpertCounts& counts : out) by_series[{counts.series, counts.kind, counts.phase}] = &counts;
  for (const ExpertCounts& old : before) {
    auto found = by_series.find({old.series, old.kind, old.phase});
    if (found == by_series.end()) {
      found = by_series.find({old.earlier_series, old.kind, old.phase});
    }
    if (found != by_series.end()) Subtract(old.layers, &found->second->layers);
  }
  std::erase_if(out, [](const ExpertCounts& counts) { return counts.layers[0].tokens == 0; });
  return out;
}

}  // namespace

StatsCursors::StatsCursors(const ExpertStats* stats, Options options)
    : stats_(stats),
      options_(std::move(options)),
      beginning_{0, options_.now(), std::make_shared<const std::vector<ExpertCounts>>()} {}

std::string StatsCursors::CursorOf(uint64_t id) const {
  return absl::StrCat(RunName(options_.run), "-", id);
}

absl::StatusOr<StatsCursors::Position> StatsCursors::Find(std::string_view cursor,
                                                          std::string_view field) const {
  if (cursor.empty()) return beginning_;
  const std::optional<CursorParts> parts = Split(cursor);
  if (!parts) return InvalidFields({{std::string(field), "is not a cursor of GetExpertStats"}});
  if (parts->run != RunName(options_.run)) {
    return Expired("the cursor is of another run of the server", field);
  }
  absl::MutexLock lock(&mu_);
  const auto found = kept_.find(parts->id);
  if (found == kept_.end()) return Expired("the cursor is not kept any more", field);
  return found->second.position;
}

StatsReading StatsCursors::Read(Position* position) {
  auto counts = std::make_shared<const std::vector<ExpertCounts>>(stats_->Snapshot());
  const Position before = *position;
  {
    absl::MutexLock lock(&mu_);
    *position = Keep(before.id, std::move(counts));
  }
  return {CountsSince(*position->counts, *before.counts), before.time, position->time,
          CursorOf(position->id)};
}

StatsCursors::Position StatsCursors::Keep(uint64_t parent,
                                          std::shared_ptr<const std::vector<ExpertCounts>> counts) {
  if (!kept_.empty()) {
    const auto& newest = kept_.rbegin()->second.position.counts;
    if (*newest == *counts) counts = newest;
  }
  const uint64_t id = ++last_id_;
  Kept& kept = kept_[id];
  kept.position = {id, options_.now(), std::move(counts)};
  kept.parent = parent;
  kept.worth = parent == 0 ? Worth::kSingle : Worth::kLive;
  kept.last_used = ++clock_;
  const Position position = kept.position;
  OnUsed(parent, id);
  Forget();
  return position;
}

StatsCursors::Kept* StatsCursors::FindKept(uint64_t id) {
  const auto found = kept_.find(id);
  return found == kept_.end() ? nullptr : &found->second;
}

void StatsCursors::OnUsed(uint64_t id, uint64_t child) {
  Kept* const used = FindKept(id);
  if (used == nullptr) return;
  used->last_used = ++clock_;
  used->worth = std::max(used->worth, Worth::kLive);
  if (Kept* sibling = FindKept(used->last_child); sibling != nullptr && sibling->last_child == 0) {
    sibling->worth = Worth::kSingle;
  }
  used->last_child = child;
  if (Kept* parent = FindKept(used->parent); parent != nullptr) {
    parent->worth = Worth::kSuperseded;
  }
}

bool StatsCursors::TooMuch() const {
  if (kept_.size() > options_.max_cursors) return true;
  std::vector<const std::vector<ExpertCounts>*> counts;
  for (const auto& [id, kept] : kept_) counts.push_back(kept.position.counts.get());
  return BytesOfDistinct(counts) > options_.max_bytes;
}

StatsCursors::Position StatsCursors::FindOlder(absl::Duration ago) const {
  const absl::Time latest = options_.now() - ago;
  absl::MutexLock lock(&mu_);
  const auto newer = std::find_if(marks_.begin(), marks_.end(),
                                  [latest](const Position& mark) { return mark.time > latest; });
  return newer == marks_.begin() ? beginning_ : *std::prev(newer);
}

void StatsCursors::Mark() {
  auto counts = std::make_shared<const std::vector<ExpertCounts>>(stats_->Snapshot());
  absl::MutexLock lock(&mu_);
  if (!marks_.empty() && *marks_.back().counts == *counts) counts = marks_.back().counts;
  marks_.push_back({0, options_.now(), std::move(counts)});
  ThinMarks();
}

void StatsCursors::ThinMarks() {
  const absl::Time now = marks_.back().time;
  // The newest that is a day old stays: it is where the last day begins.
  while (marks_.size() > 1 && now - marks_[1].time >= kLongestSince) marks_.erase(marks_.begin());
  for (size_t i = marks_.size() - 1; i-- > 1;) {
    const absl::Duration distance = marks_[i + 1].time - marks_[i - 1].time;
    if (distance * 8 < now - marks_[i + 1].time) marks_.erase(marks_.begin() + std::ptrdiff_t(i));
  }
  const auto bytes = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    std::vector<const std::vector<ExpertCounts>*> counts;
    for (const Position& mark : marks_) counts.push_back(mark.counts.get());
    return BytesOfDistinct(counts);
  };
  while (marks_.size() > 1 && bytes() > options_.max_mark_bytes) marks_.erase(marks_.begin());
}

void StatsCursors::Forget() {
  while (kept_.size() > 1 && TooMuch()) {
    const auto newest = std::prev(kept_.end());
    kept_.erase(std::min_element(kept_.begin(), newest, [](const auto& a, const auto& b) {
      return std::tie(a.second.worth, a.second.last_used) <
             std::tie(b.second.worth, b.second.last_used);
    }));
  }
}

}  // namespace olmoe::stats
