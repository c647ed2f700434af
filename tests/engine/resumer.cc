#include "tests/engine/resumer.h"

#include <utility>

namespace olmoe::engine {

Resumer::Resumer(Engine* engine) : engine_(engine), thread_([this] { Run(); }) {}

Resumer::~Resumer() {
  {
    absl::MutexLock lock(&mu_);
    stop_ = true;
  }
  thread_.join();
}

int Resumer::NewReader() {
  absl::MutexLock lock(&mu_);
  const int reader = static_cast<int>(readers_.size());
  readers_[reader] = {};
  return reader;
}

void Resumer::OnPause(int reader) {
  absl::MutexLock lock(&mu_);
  readers_[reader].paused = true;
  MoveIfDue(&readers_[reader]);
}

void Resumer::SetHandle(int reader, RequestHandle handle) {
  absl::MutexLock lock(&mu_);
  readers_[reader].handle = handle;
  MoveIfDue(&readers_[reader]);
}

void Resumer::MoveIfDue(Reader* reader) {
  if (reader->handle == 0 || !reader->paused) return;
  reader->paused = false;
  due_.push_back(reader->handle);
}

void Resumer::Run() {
  while (true) {
    std::vector<RequestHandle> due;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &Resumer::HasWork));
      if (stop_) return;
      due = std::exchange(due_, {});
    }
    for (RequestHandle handle : due) engine_->Resume(handle);
  }
}

}  // namespace olmoe::engine
