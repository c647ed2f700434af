// GetExpertStats and WatchExpertStats.
#include <grpcpp/alarm.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "olmoe/v1/admin.pb.h"
#include "server/api/expert_stats.h"
#include "server/api/request_errors.h"
#include "server/api/time_proto.h"
#include "server/routing/controller.h"
#include "server/rpc/admin_calls.h"
#include "server/rpc/open_watches.h"
#include "server/rpc/stream_call.h"
#include "server/rpc/wire.h"
#include "server/stats/stats_cursors.h"

namespace olmoe::rpc {
namespace {

constexpr absl::Duration kShortest = absl::Milliseconds(100), kLongest = absl::Hours(1);

absl::Duration ParseInterval(const v1::WatchExpertStatsRequest& request,
                             api::RequestErrors* errors) {
  if (!request.has_interval()) return absl::Seconds(1);
  const std::optional<absl::Duration> interval = api::FromProto(request.interval());
  if (interval && *interval >= kShortest && *interval <= kLongest) return *interval;
  errors->Add("interval", "must be 0.1 s..1 h");
  return kLongest;
}

// Where a reader begins: at its cursor, a while ago, or at the beginning. Violations are named below
// `prefix`.
stats::StatsCursors::Position PositionOf(const v1::GetExpertStatsRequest& request,
                                         const std::string& prefix, const AdminContext& context,
                                         api::RequestErrors* errors) {
  if (!request.has_since()) {
    auto position =
        context.expert_stats->Find(request.since_cursor(), absl::StrCat(prefix, "since_cursor"));
    errors->Add(position.status());
    return position.ok() ? *std::move(position) : stats::StatsCursors::Position();
  }
  const std::optional<absl::Duration> since = api::FromProto(request.since());
  if (!since || *since < absl::Seconds(1) || *since > stats::kLongestSince) {
    errors->Add(absl::StrCat(prefix, "since"), "must be 1 s..24 h");
  } else if (!request.since_cursor().empty()) {
    errors->Add(absl::StrCat(prefix, "since"), "must be unset where since_cursor is set");
  } else {
    return context.expert_stats->FindOlder(*since);
  }
  return {};
}

v1::GetExpertStatsResponse ReadStats(const api::StatsFilter& filter, const AdminContext& context,
                                     stats::StatsCursors::Position* position) {
  return api::ToProto(context.expert_stats->Read(position), filter,
                      *context.serving->controller->slot().Current());
}

// One WatchExpertStats call. Intervals that pass during a write are one message after it, so a
// slow reader gets fewer messages and no queue. The alarm and the drain know the call weakly, so
// that neither keeps it.
class WatchExpertStatsCall final : public StreamCall<AdminContext> {
 public:
  using StreamCall::StreamCall;

  ~WatchExpertStatsCall() override {
    if (watch_) context().watches->Remove(*watch_);
  }

 private:
  void OnMessage(bool) override {
    if (absl::Status status = Begin(); status.ok()) {
      OnAlarm();  // the first message comes at once
    } else {
      Stop(std::move(status));
    }
  }
  void OnBroken() override { SetEnd(absl::CancelledError("the client does not read any more")); }
  void OnCancelled() override { Stop(absl::CancelledError("cancelled by the client")); }
  Step Next() override;

  absl::Status Begin();
  void OnAlarm() ABSL_LOCKS_EXCLUDED(mu_);
  void SetAlarm() ABSL_LOCKS_EXCLUDED(mu_);
  // The first end counts.
  void SetEnd(absl::Status status) ABSL_LOCKS_EXCLUDED(mu_);
  void Stop(absl::Status status) {
    const auto alive = Shared(this);
    SetEnd(std::move(status));
    Wake();
  }

  std::optional<uint64_t> watch_;  // in context().watches
  // Constant after Begin.
  api::StatsFilter filter_;
  absl::Duration interval_;

  stats::StatsCursors::Position position_;  // of Next, after Begin

  absl::Mutex mu_;
  bool is_due_ ABSL_GUARDED_BY(mu_) = false;  // an interval has passed since the last message
  absl::Status end_ ABSL_GUARDED_BY(mu_);     // not OK once it is to end
  absl::Time next_due_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mu_);
};

absl::Status WatchExpertStatsCall::Begin() {
  v1::WatchExpertStatsRequest request;
  if (absl::Status status = ParseMessage(message(), &request); !status.ok()) return status;
  api::RequestErrors errors;
  filter_ = api::ParseStatsFilter(request.filter(), "filter.", serving(),
                                  context().expert_stats->ArmIds(), &errors);
  interval_ = ParseInterval(request, &errors);
  position_ = PositionOf(request.filter(), "filter.", context(), &errors);
  if (!errors.empty()) return errors.ToStatus();
  const auto watch = context().watches->Add([weak = std::weak_ptr(Shared(this))] {
    if (const auto call = weak.lock()) call->Stop(absl::UnavailableError("the server is draining"));
  });
  if (watch.ok()) watch_ = *watch;
  return watch.status();
}

void WatchExpertStatsCall::OnAlarm() {
  const auto alive = Shared(this);  // gRPC may be done before this function is
  SetAlarm();
  {
    absl::MutexLock lock(&mu_);
    is_due_ = true;
  }
  Wake();
}

// An alarm is used once. The old one is destroyed without the lock, because what it
// would still call takes it.
void WatchExpertStatsCall::SetAlarm() {
  auto alarm = std::make_unique<grpc::Alarm>();
  absl::MutexLock lock(&mu_);
  if (!end_.ok()) return;
  const absl::Time now = absl::Now();
  next_due_ = std::max(next_due_ + interval_, now);
  if (next_due_ == now) next_due_ += interval_;  // the first, or too late for the rhythm
  alarm->Set(absl::ToChronoTime(next_due_), [weak = std::weak_ptr(Shared(this))](bool expired) {
    if (!expired) return;
    if (const auto call = weak.lock()) call->OnAlarm();
  });
  alarm_.swap(alarm);
}

void WatchExpertStatsCall::SetEnd(absl::Status status) {
  std::unique_ptr<grpc::Alarm> alarm;  // goes after the lock
  absl::MutexLock lock(&mu_);
  if (end_.ok()) end_ = std::move(status);
  alarm.swap(alarm_);
}

WatchExpertStatsCall::Step WatchExpertStatsCall::Next() {
  {
    absl::MutexLock lock(&mu_);
    if (!end_.ok()) return TheEnd(end_);
    if (!std::exchange(is_due_, false)) return Nothing();
  }
  v1::WatchExpertStatsResponse message;
  *message.mutable_delta() = ReadStats(filter_, context(), &position_);
  return Message(message);
}

}  // namespace

absl::StatusOr<v1::GetExpertStatsResponse> GetExpertStats(const v1::GetExpertStatsRequest& request,
                                                          const AdminContext& context) {
  api::RequestErrors errors;
  const api::StatsFilter filter =
      api::ParseStatsFilter(request, "", *context.serving, context.expert_stats->ArmIds(), &errors);
  auto position = PositionOf(request, "", context, &errors);
  if (!errors.empty()) return errors.ToStatus();
  return ReadStats(filter, context, &position);
}

ByteReactor* StartWatchExpertStats(const AdminContext* context,
                                   grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<WatchExpertStatsCall>(context, server_context);
}

}  // namespace olmoe::rpc
