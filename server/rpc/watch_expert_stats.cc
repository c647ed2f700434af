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
#include "server/rpc/grpc_status.h"
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

// One WatchExpertStats call. It owns itself until gRPC is done with it; the alarm and
// the drain know it weakly, so that neither keeps it. Reads and writes only on its turn
// (WatchTurns), which gRPC's threads, the alarm's and the one that drains pass on.
class WatchExpertStatsCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                                   public std::enable_shared_from_this<WatchExpertStatsCall> {
 public:
  static WatchExpertStatsCall* Start(const ServiceContext* context,
                                     const grpc::ByteBuffer& bytes) {
    auto call = std::make_shared<WatchExpertStatsCall>(context);
    call->self_ = call;
    if (absl::Status status = call->Begin(bytes); status.ok()) {
      call->OnAlarm();  // the first message comes at once
    } else {
      call->End(std::move(status));
    }
    return call.get();
  }

  explicit WatchExpertStatsCall(const ServiceContext* context) : context_(context) {}

  void OnWriteDone(bool ok) override;
  void OnCancel() override { End(absl::CancelledError("cancelled by the client")); }
  void OnDone() override;

 private:
  absl::Status Begin(const grpc::ByteBuffer& bytes);
  void OnAlarm() ABSL_LOCKS_EXCLUDED(mu_);
  void SetAlarm() ABSL_LOCKS_EXCLUDED(mu_);
  void End(absl::Status status) ABSL_LOCKS_EXCLUDED(mu_);
  void Take(WatchTurns::Do turn) ABSL_LOCKS_EXCLUDED(mu_);

  const ServiceContext* const context_;
  std::shared_ptr<WatchExpertStatsCall> self_;
  std::optional<uint64_t> watch_;  // in context_->watches
  // Constant after Begin.
  StatsFilter filter_;
  absl::Duration interval_;

  // Of whoever has the turn to write.
  stats::StatsCursors::Position position_;
  grpc::ByteBuffer write_buffer_;

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
  filter_ = ParseStatsFilter(message.filter(), "filter.", *context_, &errors);
  interval_ = ParseInterval(message, &errors);
  auto position =
      context_->expert_stats->Find(message.filter().since_cursor(), "filter.since_cursor");
  errors.Add(position.status());
  if (!errors.empty()) return errors.ToStatus();
  position_ = *std::move(position);
  const auto watch = context_->watches->Add([weak = weak_from_this()] {
    if (const auto call = weak.lock()) call->End(absl::UnavailableError("the server is draining"));
  });
  if (watch.ok()) watch_ = *watch;
  return watch.status();
}

void WatchExpertStatsCall::OnAlarm() {
  const auto alive = shared_from_this();  // gRPC may be done before this function is
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
  alarm->Set(absl::ToChronoTime(next_due_), [weak = weak_from_this()](bool expired) {
    if (!expired) return;
    if (const auto call = weak.lock()) call->OnAlarm();
  });
  alarm_.swap(alarm);
}

void WatchExpertStatsCall::OnWriteDone(bool ok) {
  if (!ok) End(absl::CancelledError("the client does not read any more"));
  WatchTurns::Do turn;
  {
    absl::MutexLock lock(&mu_);
    turn = turns_.OnWritten();
  }
  Take(turn);
}

void WatchExpertStatsCall::End(absl::Status status) {
  const auto alive = shared_from_this();
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
      *message.mutable_delta() = ToProto(context_->expert_stats->Read(&position_), filter_);
      write_buffer_ = SerializeMessage(message);
      StartWrite(&write_buffer_);
      return;
    }
    case WatchTurns::Do::kFinish: {
      absl::Status status;
      {
        absl::MutexLock lock(&mu_);
        status = end_;
      }
      Finish(ToGrpcStatus(status));
    }
  }
}

void WatchExpertStatsCall::OnDone() {
  const auto last = std::move(self_);
  if (watch_) context_->watches->Remove(*watch_);
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartWatchExpertStats(
    const ServiceContext* context, const grpc::ByteBuffer* request) {
  return WatchExpertStatsCall::Start(context, *request);
}

}  // namespace olmoe::rpc
