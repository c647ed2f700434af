#include "server/limits/request_memory.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/util/status_details.h"

namespace olmoe::limits {
namespace {

// A headroom: the change is made whether it fits or not.
constexpr int64_t kForced = -1;

}  // namespace

RequestMemory::RequestMemory(int64_t max_bytes, std::function<void()> on_freed)
    : max_bytes_(max_bytes), on_freed_(std::move(on_freed)) {
  CHECK_GT(max_bytes, 0);
}

RequestMemory::~RequestMemory() {
  absl::MutexLock lock(&mu_);
  CHECK(clients_.empty()) << "calls outlive their memory";
}

RequestMemory::Hold RequestMemory::Open(const std::string& client) {
  absl::MutexLock lock(&mu_);
  Client& entry = clients_[client];
  if (entry.holds++ == 0) entry.name = client;
  return Hold(this, &entry);
}

int64_t RequestMemory::used_bytes() const {
  absl::MutexLock lock(&mu_);
  return used_bytes_;
}

void RequestMemory::AwaitNone(absl::Time deadline) const {
  const auto none = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return clients_.empty(); };
  absl::MutexLock lock(&mu_);
  mu_.AwaitWithDeadline(absl::Condition(&none), deadline);
}

absl::Status RequestMemory::Change(Client* client, int64_t change, int64_t headroom) {
  const int64_t share = client->name.empty() ? max_bytes_ : max_bytes_ / 4 * 3;
  {
    absl::MutexLock lock(&mu_);
    const int64_t wanted = change + headroom;
    const bool fits = used_bytes_ + wanted <= max_bytes_ && client->bytes + wanted <= share;
    if (change <= 0 || headroom == kForced || fits) {
      used_bytes_ += change;
      client->bytes += change;
      return absl::OkStatus();
    }
  }
  if (change > share) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the request needs ", change, " bytes of memory; one client may have ", share,
                     " of the ", max_bytes_, " for requests (--max-request-memory)"));
  }
  return WithRetryDelay(
      absl::ResourceExhaustedError("the memory for requests is in use (--max-request-memory)"),
      absl::Seconds(1));
}

void RequestMemory::Close(Client* client) {
  absl::MutexLock lock(&mu_);
  if (--client->holds == 0) clients_.erase(std::string(client->name));
}

RequestMemory::Hold::Hold(Hold&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)),
      client_(other.client_),
      bytes_(std::exchange(other.bytes_, 0)) {}

RequestMemory::Hold& RequestMemory::Hold::operator=(Hold&& other) noexcept {
  if (this == &other) return *this;
  Release();
  memory_ = std::exchange(other.memory_, nullptr);
  client_ = other.client_;
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

RequestMemory::Hold::~Hold() { Release(); }

void RequestMemory::Hold::Release() {
  if (memory_ == nullptr) return;
  Set(0);
  std::exchange(memory_, nullptr)->Close(client_);
}

absl::Status RequestMemory::Hold::Resize(int64_t bytes, int64_t headroom) {
  if (memory_ == nullptr || bytes == bytes_) return absl::OkStatus();
  const bool frees = bytes < bytes_;
  absl::Status status = memory_->Change(client_, bytes - bytes_, headroom);
  if (!status.ok()) return status;
  bytes_ = bytes;
  if (frees) memory_->on_freed_();
  return status;
}

void RequestMemory::Hold::Set(int64_t bytes) {
  if (memory_ == nullptr || bytes == bytes_) return;
  const bool frees = bytes < bytes_;
  CHECK(memory_->Change(client_, bytes - bytes_, kForced).ok());
  bytes_ = bytes;
  if (frees) memory_->on_freed_();
}

}  // namespace olmoe::limits
