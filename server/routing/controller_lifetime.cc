// How a controller begins, and how plans with a time to live end.
#include <cstdint>
#include <utility>

#include "glog/logging.h"
#include "server/routing/controller.h"
#include "server/routing/controller_errors.h"
#include "server/routing/memory_plan_store.h"
#include "server/routing/plan_rebuild.h"

namespace olmoe::routing {
namespace {

// An expiry that could not be stored.
constexpr absl::Duration kRetryDelay = absl::Seconds(5);

uint64_t FallbackOf(const PlanRecord& record) {
  LOG_IF(WARNING, record.older_fallback() != record.fallback_generation)
      << "the stored state is damaged: generation " << record.generation
      << " falls back to generation " << record.fallback_generation
      << ", which is not older; the model's own routing comes back instead";
  return record.older_fallback();
}

}  // namespace

struct RoutingController::Fallback {
  std::shared_ptr<const RoutingPlan> plan;
  PlanRecord record;
};

RoutingController::RoutingController(Options options)
    : RoutingController(options, StartUnpatched(options)) {}

RoutingController::RoutingController(Options options, Start start)
    : options_(std::move(options)),
      native_(RoutingPolicy::Native(options_.shape)),
      own_store_(std::move(start.own_store)),
      store_(own_store_ == nullptr ? options_.store : own_store_.get()),
      slot_(std::move(start.plan), [this] { listeners_.Notify(); }),
      record_(std::make_shared<const PlanRecord>(std::move(start.record))),
      alarm_([this] { ExpireDue().IgnoreError(); }) {
  CHECK(store_ != nullptr);
  SetAlarm(*CurrentRecord());
}

absl::StatusOr<std::unique_ptr<RoutingController>> RoutingController::Create(Options options) {
  absl::StatusOr<std::optional<PlanRecord>> newest = NewestStored(options);
  if (!newest.ok()) return newest.status();
  absl::StatusOr<Start> start =
      newest->has_value() ? StartAgain(options, **std::move(newest)) : FirstStart(options);
  if (!start.ok()) return start.status();
  std::unique_ptr<RoutingController> controller(
      new RoutingController(std::move(options), *std::move(start)));
  if (absl::Status status = controller->ExpireDue(); !status.ok()) return status;
  if (absl::Status status = controller->ApplyChangedFile(); !status.ok()) return status;
  return controller;
}

absl::Status RoutingController::Check(const Options& options) {
  absl::StatusOr<std::optional<PlanRecord>> newest = NewestStored(options);
  if (!newest.ok()) return newest.status();
  if (newest->has_value()) {
    const absl::StatusOr<Start> start = StartAgain(options, **std::move(newest));
    if (!start.ok()) return start.status();
  }
  if (!options.file) return absl::OkStatus();
  if (options.store != nullptr) {
    const absl::StatusOr<std::string> applied = options.store->FileDigest();
    if (!applied.ok()) return applied.status();
    if (*applied == options.file->digest) return absl::OkStatus();
  }
  return RoutingPlan::Create(options.file->spec, options.shape, options.named(), options.max_arms,
                             /*generation=*/1, PlanSource::kFile, options.now(), "plan")
      .status();
}

absl::StatusOr<std::optional<PlanRecord>> RoutingController::NewestStored(const Options& options) {
  if (options.store == nullptr) return std::optional<PlanRecord>();
  absl::StatusOr<std::vector<PlanRecord>> stored = options.store->List(UINT64_MAX, 1);
  if (!stored.ok()) return stored.status();
  if (stored->empty()) return std::optional<PlanRecord>();
  return std::optional<PlanRecord>(std::move(stored->front()));
}

RoutingController::Start RoutingController::StartUnpatched(const Options& options) {
  CHECK(options.store == nullptr && !options.file);
  absl::StatusOr<Start> start = FirstStart(options);
  CHECK(start.ok()) << start.status();
  return *std::move(start);
}

absl::StatusOr<RoutingController::Start> RoutingController::FirstStart(const Options& options) {
  Start start;
  PlanChange change;
  if (options.file) {
    auto plan =
        RoutingPlan::Create(options.file->spec, options.shape, options.named(), options.max_arms,
                            /*generation=*/1, PlanSource::kStartup, options.now(), "plan");
    if (!plan.ok()) return plan.status();
    start.plan = *std::move(plan);
    change.file_digest = options.file->digest;
  } else {
    start.plan =
        RoutingPlan::Native(options.shape, /*generation=*/1, PlanSource::kStartup, options.now());
  }
  start.record = RecordOf(*start.plan, /*actor=*/"");
  change.plan = start.record;
  if (options.store == nullptr) start.own_store = std::make_unique<MemoryPlanStore>();
  PlanStore* store = options.store == nullptr ? start.own_store.get() : options.store;
  if (absl::Status status = store->Append(change); !status.ok()) return status;
  return start;
}

absl::StatusOr<RoutingController::Start> RoutingController::StartAgain(const Options& options,
                                                                       PlanRecord newest) {
  auto plan = Rebuild(newest, options.shape, options.named(), options.max_arms, newest.generation,
                      newest.source, newest.activate_time);
  if (!plan.ok()) return plan.status();
  return Start{nullptr, *std::move(plan), std::move(newest)};
}

// A file that was applied before has been the operator's wish already: what came after
// it stands.
absl::Status RoutingController::ApplyChangedFile() {
  if (!options_.file) return absl::OkStatus();
  const absl::StatusOr<std::string> applied = store_->FileDigest();
  if (!applied.ok()) return applied.status();
  if (*applied == options_.file->digest) return absl::OkStatus();
  return ApplyFile(*options_.file).status();
}

absl::StatusOr<absl::Time> RoutingController::Renew(uint64_t generation, absl::Duration ttl) {
  absl::MutexLock lock(&admin_mu_);
  PlanRecord record = *CurrentRecord();
  if (record.generation != generation) return GenerationMismatch(record.generation, generation);
  if (!record.has_ttl()) return NoTimeToLive(generation);
  const absl::Time now = options_.now();
  if (record.expire_time <= now) return HasExpired(generation);
  record.expire_time = now + ttl;
  if (absl::Status status = store_->SetExpireTime(generation, record.expire_time); !status.ok()) {
    return NotStored(status);
  }
  SetAlarm(record);
  const absl::Time expire_time = record.expire_time;
  SetRecord(std::move(record));
  return expire_time;
}

absl::Status RoutingController::ExpireDue() {
  absl::MutexLock lock(&admin_mu_);
  const std::shared_ptr<const PlanRecord> record = CurrentRecord();
  if (record->expire_time > options_.now()) {
    SetAlarm(*record);
    return absl::OkStatus();
  }
  const absl::Status status = FallBack(*record);
  if (!status.ok()) {
    LOG(ERROR) << "generation " << record->generation
               << " has expired, and stays until its end can be stored: " << status.message();
    alarm_.Set(absl::Now() + kRetryDelay);
  }
  return status;
}

absl::Status RoutingController::FallBack(const PlanRecord& ended) {
  absl::StatusOr<Fallback> next = FindFallback(ended);
  if (!next.ok()) return next.status();
  PlanChange change;
  change.plan = next->record;
  if (absl::Status status = store_->Append(change); !status.ok()) return status;
  LOG(INFO) << "generation " << ended.generation << " has expired: generation "
            << next->record.generation << " takes over";
  Publish(std::move(next->plan), std::move(next->record));
  return absl::OkStatus();
}

absl::StatusOr<RoutingController::Fallback> RoutingController::FindFallback(
    const PlanRecord& ended) {
  const absl::Time now = options_.now();
  const uint64_t generation = ended.generation + 1;
  for (uint64_t back = FallbackOf(ended); back != 0;) {
    // Where that one is forgotten, this finds the newest plan without a time to live.
    absl::StatusOr<std::vector<PlanRecord>> found = store_->List(back + 1, 1);
    if (!found.ok()) return found.status();
    if (found->empty()) break;
    const PlanRecord* earlier = &found->front();
    back = FallbackOf(*earlier);
    if (earlier->expire_time <= now) continue;
    auto plan = Rebuild(*earlier, options_.shape, options_.named(), options_.max_arms, generation,
                        PlanSource::kExpired, now);
    if (!plan.ok()) {
      LOG(WARNING) << "cannot fall back: " << plan.status().message();
      continue;
    }
    PlanRecord record = RecordOf(**plan, /*actor=*/"");
    record.expire_time = earlier->expire_time;
    record.fallback_generation = back;
    return Fallback{*std::move(plan), std::move(record)};
  }
  auto native = RoutingPlan::Native(options_.shape, generation, PlanSource::kExpired, now);
  PlanRecord record = RecordOf(*native, /*actor=*/"");
  return Fallback{std::move(native), std::move(record)};
}

std::shared_ptr<const PlanRecord> RoutingController::CurrentRecord() const {
  absl::MutexLock lock(&record_mu_);
  return record_;
}

void RoutingController::SetRecord(PlanRecord record) {
  auto next = std::make_shared<const PlanRecord>(std::move(record));
  {
    absl::MutexLock lock(&record_mu_);
    record_.swap(next);
  }
  listeners_.Notify();
}

void RoutingController::SetAlarm(const PlanRecord& record) {
  alarm_.Set(record.has_ttl() ? absl::Now() + (record.expire_time - options_.now())
                              : absl::InfiniteFuture());
}

}  // namespace olmoe::routing
