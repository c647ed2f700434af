#include "server/rpc/watch_expert_stats.h"

#include <grpcpp/alarm.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "olmoe/v1/admin.pb.h"
#include "server/rpc/conversions.h"
#include "server/rpc/expert_stats_admin.h"
#include "server/rpc/open_watches.h"
#include "server/rpc/request_errors.h"
#include "server/rpc/watch_turns.h"
#include "server/rpc/wire.h"

namespace olmoe::rpc {
namespace {

constexpr absl::Duration kShortest = absl::Milliseconds(100), kLongest = absl::Hours(1);

absl::Duration ParseInterval(const v1::WatchExpertStatsRequest& request, RequestErrors* errors) {
  if (!request.has_interval()) return absl::Seconds(1);
  const std::optional<absl::Duration> interval = FromProto(request.interval());
  if (interval && *interval >= kShortest && *interval <= kLongest) return *interval;
  errors->Add("interval", "must be 0.1 s..1 h");
  return kLongest;
}

// One WatchExpertStats call. The alarm and the drain know it weakly, so that neither keeps it.
// Reads and writes only on its turn (WatchTurns), which gRPC's threads, the alarm's and the one
// that drains pass on.
class WatchExpertStatsCall final : public BoundedCall {
 public:
  WatchExpertStatsCall(const ServiceContext* context, grpc::CallbackServerContext* server_context)
      : BoundedCall(context, server_context) {}

  ~WatchExpertStatsCall() override {
    if (watch_) context().watches->Remove(*watch_);
  }

 private:
  void OnMessage(bool) override {
    if (absl::Status status = Begin(message()); status.ok()) {
      OnAlarm();  // the first message comes at once
    } else {
      Stop(std::move(status));
    }
  }
  void OnWritten(bool ok) override;
  void OnCancelled() override { Stop(absl::CancelledError("cancelled by the client")); }

  absl::Status Begin(const grpc::ByteBuffer& bytes);
  void OnAlarm() ABSL_LOCKS_EXCLUDED(mu_);
  void SetAlarm() ABSL_LOCKS_EXCLUDED(mu_);
  void Stop(absl::Status status) ABSL_LOCKS_EXCLUDED(mu_);
  void Take(WatchTurns::Do turn) ABSL_LOCKS_EXCLUDED(mu_);

  std::optional<uint64_t> watch_;  // in context().watches
  // Constant after Begin.
  StatsFilter filter_;
  absl::Duration interval_;

  // Of whoever has the turn to write.
  stats::StatsCursors::Position position_;

  absl::Mutex mu_;
  WatchTurns turns_ ABSL_GUARDED_BY(mu_);
  absl::Status end_ ABSL_GUARDED_BY(mu_);  // not OK once it is to end
  absl::Time next_due_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mu_);
};

absl::Status WatchExpertStatsCall::Begin(const grpc::ByteBuffer& bytes) {
  v1::WatchExpertStatsRequest message;
  if (absl::Status status = ParseMessage(bytes, &message); !status.ok()) return status;
  RequestErrors errors;
  filter_ = ParseStatsFilter(message.filter(), "filter.", context(), &errors);
  interval_ = ParseInterval(message, &errors);
  auto position =
      context().expert_stats->Find(message.filter().since_cursor(), "filter.since_cursor");
  errors.Add(position.status());
  if (!errors.empty()) return errors.ToStatus();
  position_ = *std::move(position);
  const auto watch = context().watches->Add([weak = std::weak_ptr(Shared(this))] {
    if (const auto call = weak.lock()) call->Stop(absl::UnavailableError("the server is draining"));
  });
  if (watch.ok()) watch_ = *watch;
  return watch.status();
}

void WatchExpertStatsCall::OnAlarm() {
  const auto alive = Shared(this);  // gRPC may be done before this function is
  SetAlarm();
  WatchTurns::Do turn;
  {
    absl::MutexLock lock(&mu_);
    turn = turns_.OnDue();
  }
  Take(turn);
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

void WatchExpertStatsCall::OnWritten(bool ok) {
  if (!ok) Stop(absl::CancelledError("the client does not read any more"));
  WatchTurns::Do turn;
  {
    absl::MutexLock lock(&mu_);
    turn = turns_.OnWritten();
  }
  Take(turn);
}

void WatchExpertStatsCall::Stop(absl::Status status) {
  const auto alive = Shared(this);
  std::unique_ptr<grpc::Alarm> alarm;
  WatchTurns::Do turn;
  {
    absl::MutexLock lock(&mu_);
    if (end_.ok()) end_ = std::move(status);
    alarm.swap(alarm_);
    turn = turns_.OnEnd();
  }
  Take(turn);
}

void WatchExpertStatsCall::Take(WatchTurns::Do turn) {
  switch (turn) {
    case WatchTurns::Do::kNothing: return;
    case WatchTurns::Do::kWrite: {
      v1::WatchExpertStatsResponse message;
      *message.mutable_delta() = ToProto(context().expert_stats->Read(&position_), filter_);
      return Write(SerializeMessage(message));
    }
    case WatchTurns::Do::kFinish: {
      absl::Status status;
      {
        absl::MutexLock lock(&mu_);
        status = end_;
      }
      End(status);
    }
  }
}

}  // namespace

ByteReactor* StartWatchExpertStats(const ServiceContext* context,
                                   grpc::CallbackServerContext* server_context) {
  return BoundedCall::Start<WatchExpertStatsCall>(context, server_context);
}

}  // namespace olmoe::rpc
