#ifndef OLMOE_SERVER_ROUTING_CONTROLLER_H_
#define OLMOE_SERVER_ROUTING_CONTROLLER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/routing/alarm.h"
#include "server/routing/listeners.h"
#include "server/routing/plan.h"
#include "server/routing/plan_slot.h"
#include "server/routing/plan_store.h"

namespace olmoe::routing {

// Makes a patch safe to send again: the first answer to a key is kept, with the plan
// and in the same transaction, and given again.
struct IdempotencyKey {
  std::string key;             // empty: none
  std::string request_digest;  // of the request without its key
};

// What was found in a plan before it was published.
struct PlanFindings {
  std::vector<std::string> warnings;
  std::vector<ProbeResult> probe_results;
};

struct PatchOptions {
  std::optional<uint64_t> expected_generation;  // compare-and-swap
  bool validate_only = false;
  // Set: wait, after publishing, until no request uses an older plan. Running out
  // of time is a warning, not an error: the patch stands.
  std::optional<absl::Duration> wait_for_drain;
  std::string actor;  // kept in the history
  // Set: > 0; see RoutingController about what comes back when it ends.
  std::optional<absl::Duration> ttl;
  IdempotencyKey idempotency;  // not kept by validate_only, nor with an error
  // Looks at the plan, and may refuse it: called after the comparison and before anything is
  // stored, also by validate_only and for the same plan again. No other patch runs meanwhile;
  // admission goes on.
  std::function<absl::StatusOr<PlanFindings>(const RoutingPlan& candidate)> examine;
};

struct PatchResult : PatchAnswer {
  std::shared_ptr<const RoutingPlan> current;  // after the call
  std::shared_ptr<const RoutingPlan> checked;  // of validate_only; else null
  // The idempotency key was used before: nothing is done. The answer is the one kept then, and
  // what this call has to warn of.
  bool is_repeated = false;
};

// A plan that an operator gave as a file.
struct PlanFile {
  PlanSpec spec;
  std::string digest;  // of the file's bytes
};

// The life of a patch: build, compare, check, store, publish, one at a time. Everything
// that can fail happens before the slot is touched, so a refused patch changes nothing;
// and what was published was stored before, so it survives the process.
//
// A plan with a time to live gives way when that ends to the plan that was current when
// it was published, under a new generation. If that one had a time to live too: while
// that lasts it comes back for the rest of it, after that the plan before it does, and
// so on; at the end is a plan without one, or the model's own routing. Whatever
// replaces a plan earlier ends its time to live with it. Expiry that cannot be stored is
// tried again every few seconds; until then the plan stays.
//
// Thread-safe.
class RoutingController {
 public:
  struct Options {
    RouterShape shape;
    int max_arms = 8;
    // Null: there are none. Outlive the controller.
    const CalibrationSet* calibrations = nullptr;
    const RouterSet* routers = nullptr;
    // Null: the history is kept in memory. Outlives the controller.
    PlanStore* store = nullptr;
    // The first plan of an empty store. Of another one: published on top of the stored
    // plan if it is not the file that was applied last.
    std::optional<PlanFile> file = std::nullopt;
    std::function<absl::Time()> now = absl::Now;

    NamedSets named() const { return {calibrations, routers}; }
  };
  // Serves the newest stored plan again, under its generation; if its time to live ended
  // meanwhile, what comes after it. An empty store: generation 1, from options.file or
  // unpatched. Errors: of the store, of the file's plan as by Patch, and
  // FAILED_PRECONDITION where the stored plan does not run on this model.
  static absl::StatusOr<std::unique_ptr<RoutingController>> Create(Options options);
  // The errors of Create that the store, the file and the shape hold already, found
  // without changing anything.
  static absl::Status Check(const Options& options);
  // Unpatched, at generation 1, without store and file (CHECK).
  explicit RoutingController(Options options);

  // Errors: those of RoutingPlan::Create, with fields named below "plan"; ABORTED with ErrorInfo GENERATION_MISMATCH
  // (metadata "current_generation", "expected_generation"); INVALID_ARGUMENT with
  // ErrorInfo IDEMPOTENCY_KEY_REUSED for a key of another request; those of
  // options.examine; those of the store (RESOURCE_EXHAUSTED: the disk is full,
  // UNAVAILABLE), with ErrorInfo NOT_STORED.
  absl::StatusOr<PatchResult> Patch(PlanSpec plan, const PatchOptions& options);
  // Back to the model's own routing. Already there: OK, unchanged, with a warning.
  absl::StatusOr<PatchResult> Unpatch(const PatchOptions& options);
  // Publishes the plan of an earlier generation again, with the time to live of `options`, if any: that
  // one of the two plans had is lost, which is a warning. Unset: the newest before the
  // current one, so a second rollback undoes the first. Errors:
  // NOT_FOUND (ErrorInfo UNKNOWN_GENERATION); FAILED_PRECONDITION where the plan would
  // not route as it did: a calibration or router is gone or another one.
  absl::StatusOr<PatchResult> Rollback(std::optional<uint64_t> to_generation,
                                       const PatchOptions& options);
  // As a patch, with source "file".
  absl::StatusOr<PatchResult> ApplyFile(const PlanFile& file);

  // Lets the current plan live for `ttl` from now; returns its new end. Errors: ABORTED
  // (GENERATION_MISMATCH) where `generation` is not current; FAILED_PRECONDITION where
  // it has no time to live or that has ended (ErrorInfo NO_TTL, EXPIRED); of the store.
  absl::StatusOr<absl::Time> Renew(uint64_t generation, absl::Duration ttl);
  // Rolls the current plan back if its time to live has ended. An alarm calls it at that
  // time; a test with a clock of its own does it itself.
  absl::Status ExpireDue();

  // A plan that could be patched in now, with the violations that Patch would name.
  absl::StatusOr<std::shared_ptr<const RoutingPlan>> BuildOnly(PlanSpec spec) const;

  // Runs `change` between two patches: what it sees of the plans stays so until it ends.
  absl::Status BetweenPatches(const std::function<absl::Status()>& change)
      ABSL_LOCKS_EXCLUDED(admin_mu_);

  PlanSlot& slot() { return slot_; }
  // Of the current plan; never null.
  std::shared_ptr<const PlanRecord> CurrentRecord() const;
  const PlanStore& history() const { return *store_; }
  // Told of every new plan or end of life, and of every older plan that no request uses
  // any more.
  Listeners& listeners() { return listeners_; }

  const RouterShape& shape() const { return options_.shape; }
  // The model's own routing; the same object for the controller's whole life.
  const std::shared_ptr<const RoutingPolicy>& native_policy() const { return native_; }

 private:
  // What a controller begins with.
  struct Start {
    std::unique_ptr<PlanStore> own_store;  // null: options.store
    std::shared_ptr<const RoutingPlan> plan;
    PlanRecord record;
  };
  struct Fallback;
  RoutingController(Options options, Start start);
  static Start StartUnpatched(const Options& options);
  static absl::StatusOr<std::optional<PlanRecord>> NewestStored(const Options& options);
  static absl::StatusOr<Start> FirstStart(const Options& options);
  static absl::StatusOr<Start> StartAgain(const Options& options, PlanRecord newest);
  absl::Status ApplyChangedFile();

  absl::StatusOr<std::shared_ptr<const RoutingPlan>> Build(PlanSpec spec, PlanSource source) const;
  std::vector<std::string> WarningsOf(const RoutingPlan& plan) const;
  absl::StatusOr<PatchResult> BuildAndSwap(PlanSpec spec, const PatchOptions& options,
                                           PlanSource source,
                                           std::optional<std::string> file_digest)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(admin_mu_);
  // The kept answer to options.idempotency; nullopt where there is none.
  absl::StatusOr<std::optional<PatchResult>> FirstAnswer(const PatchOptions& options)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(admin_mu_);
  // Compares, checks, stores and publishes; `next` is one generation above the current
  // plan.
  absl::StatusOr<PatchResult> Swap(std::shared_ptr<const RoutingPlan> next,
                                   const PatchOptions& options, std::vector<std::string> warnings,
                                   std::optional<std::string> file_digest)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(admin_mu_);
  absl::Status Store(const PlanChange& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(admin_mu_);
  PlanSlot::Swap Publish(std::shared_ptr<const RoutingPlan> next, PlanRecord record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(admin_mu_);
  // What comes back when the plan of `ended` gives way.
  absl::StatusOr<Fallback> FindFallback(const PlanRecord& ended)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(admin_mu_);
  absl::Status FallBack(const PlanRecord& ended) ABSL_EXCLUSIVE_LOCKS_REQUIRED(admin_mu_);
  void SetRecord(PlanRecord record) ABSL_LOCKS_EXCLUDED(record_mu_);
  // Rings at the end of the plan's time to live.
  void SetAlarm(const PlanRecord& record);
  // Waits as options.wait_for_drain says, then counts who holds the plan; without admin_mu_, so
  // that a slow drain holds up no other patch.
  void Settle(const PatchOptions& options, PatchResult* result) ABSL_LOCKS_EXCLUDED(admin_mu_);

  // Constant after construction.
  const Options options_;
  const std::shared_ptr<const RoutingPolicy> native_;
  const std::unique_ptr<PlanStore> own_store_;
  PlanStore* const store_;
  // Held by a whole patch but for its drain: patches are one after the other,
  // admission goes on.
  absl::Mutex admin_mu_;
  // Thread-safe. The slot is published to only under admin_mu_.
  Listeners listeners_;
  PlanSlot slot_;

  mutable absl::Mutex record_mu_;
  std::shared_ptr<const PlanRecord> record_ ABSL_GUARDED_BY(record_mu_);

  Alarm alarm_;  // last: it calls ExpireDue
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_CONTROLLER_H_
