#include "server/limits/answer_watch.h"

#include <utility>
#include <vector>

namespace olmoe::limits {

void AnswerWatch::Begin(std::shared_ptr<Writer> writer, int64_t bytes) {
  BeginFor(std::move(writer),
           options_.timeout + absl::Seconds(static_cast<double>(bytes) /
                                            static_cast<double>(options_.bytes_per_second)));
}

void AnswerWatch::BeginFor(std::shared_ptr<Writer> writer, absl::Duration timeout) {
  const absl::Time due = options_.now() + timeout;
  const Writer* const key = writer.get();
  absl::MutexLock lock(&mu_);
  entries_[key] = {std::move(writer), due};
}

void AnswerWatch::End(const Writer* writer) {
  std::shared_ptr<Writer> last;  // goes after the lock
  absl::MutexLock lock(&mu_);
  const auto found = entries_.find(writer);
  if (found == entries_.end()) return;
  last = std::move(found->second.writer);
  entries_.erase(found);
}

void AnswerWatch::Tick() {
  std::vector<std::pair<std::shared_ptr<Writer>, bool>> unread;
  {
    absl::MutexLock lock(&mu_);
    const absl::Time now = options_.now();
    for (auto& [key, entry] : entries_) {
      if (entry.due > now) continue;
      unread.emplace_back(entry.writer, entry.told);
      entry.told = true;
      entry.due = now + options_.grace;
    }
  }
  for (const auto& [writer, told] : unread) writer->OnUnread(told);
}

bool AnswerWatch::empty() const {
  absl::MutexLock lock(&mu_);
  return entries_.empty();
}

}  // namespace olmoe::limits
