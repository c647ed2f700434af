#include "client/bench/swapper.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/bench/clock.h"

namespace olmoe::client::bench {
namespace {

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration proto;
  proto.set_seconds(absl::ToInt64Seconds(duration));
  proto.set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(duration - absl::Seconds(proto.seconds()))));
  return proto;
}

absl::Duration ToDuration(const google::protobuf::Duration& proto) {
  return absl::Seconds(proto.seconds()) + absl::Nanoseconds(proto.nanos());
}

}  // namespace

absl::StatusOr<std::unique_ptr<Swapper>> Swapper::Create(Options options,
                                                         transport::RpcClient* rpc) {
  options.ttl = std::max(options.ttl, 10 * options.every);
  auto swapper = std::unique_ptr<Swapper>(new Swapper(std::move(options), rpc));
  if (auto status = swapper->ReadCurrent(); !status.ok()) return status;
  if (swapper->current_.has_expire_time()) {
    return absl::FailedPreconditionError(
        absl::StrCat("generation ", swapper->current_.generation(),
                     " has a time to live, which a swap would end: unpatch first, or patch "
                     "without --ttl"));
  }
  swapper->original_ = swapper->current_;
  swapper->report_.original_generation = swapper->current_.generation();
  return swapper;
}

absl::Status Swapper::ReadCurrent() {
  auto routing = rpc_->GetRouting({});
  if (routing.ok()) current_ = std::move(*routing->mutable_current());
  return routing.status();
}

absl::Status Swapper::Swap() {
  v1::PatchRoutersRequest request;
  *request.mutable_policy() = options_.policies[next_ % options_.policies.size()];
  request.set_expected_generation(current_.generation());
  *request.mutable_ttl() = ToProto(options_.ttl);
  SteadyClock clock;
  const absl::Time sent = clock.Now();
  auto response = rpc_->PatchRouters(request);
  if (!response.ok()) return Count(response.status());
  Count(*response, clock.Now() - sent);
  current_ = std::move(*response->mutable_current());
  ++next_;
  return absl::OkStatus();
}

absl::Status Swapper::Count(absl::Status status) {
  const bool conflict = absl::IsAborted(status);
  if (conflict) {
    ++report_.conflicts;
  } else if (report_.failures++ == 0) {
    report_.first_failure = std::string(status.message());
  }
  if (!ReadCurrent().ok()) return status;  // counted when the next swap fails too
  if (conflict && !current_.has_expire_time()) {
    original_ = current_;
    report_.original_generation = current_.generation();
  }
  return status;
}

void Swapper::Count(const v1::PatchRoutersResponse& response, absl::Duration round_trip) {
  const uint64_t generation = response.current().generation();
  if (response.changed()) ++report_.swaps;
  if (report_.first_generation == 0) report_.first_generation = generation;
  report_.last_generation = generation;
  report_.blocked.Add(ToDuration(response.swap_duration()));
  report_.round_trip.Add(round_trip);
}

void Swapper::Restore() {
  if (report_.swaps == 0 || current_.generation() == original_.generation()) {
    report_.restored_generation = original_.generation();
    return;
  }
  v1::RollbackRoutingRequest request;
  request.set_to_generation(original_.generation());
  request.set_expected_generation(current_.generation());
  const auto response = rpc_->RollbackRouting(request);
  if (response.ok()) {
    report_.restored_generation = response->current().generation();
  } else {
    report_.not_restored = std::string(response.status().message());
  }
}

SwapLoop::SwapLoop(Swapper* swapper, absl::Duration every)
    : swapper_(swapper), every_(every), thread_([this] { Loop(); }) {}

void SwapLoop::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void SwapLoop::Loop() {
  SteadyClock clock;
  absl::Time due = clock.Now();
  for (;;) {
    // Swaps that come too late are not made up for.
    due = std::max(due + every_, clock.Now());
    {
      absl::MutexLock lock(&mu_);
      if (mu_.AwaitWithTimeout(absl::Condition(&stopped_), due - clock.Now())) return;
    }
    (void)swapper_->Swap();  // counted in the report
  }
}

}  // namespace olmoe::client::bench
