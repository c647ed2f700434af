#include "server/state/plan_table.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "olmoe/v1/admin.pb.h"
#include "server/api/routing_proto.h"

namespace olmoe::state {
namespace {

using routing::KeptAnswer;
using routing::PlanRecord;

// In the order that ReadRecord expects.
constexpr char kFindPlan[] =
    "SELECT generation, digest, plan, source, actor, activate_ns, expire_ns, fallback "
    "FROM plans WHERE generation = ?1";
constexpr char kListPlans[] =
    "SELECT generation, digest, plan, source, actor, activate_ns, expire_ns, fallback "
    "FROM plans WHERE generation < ?1 ORDER BY generation DESC LIMIT ?2";

// Generations are counted from 1: no real one is cut.
int64_t ToInt(uint64_t generation) {
  return static_cast<int64_t>(std::min<uint64_t>(generation, INT64_MAX));
}

absl::StatusOr<PlanRecord> ReadRecord(const Statement& row) {
  PlanRecord record;
  record.generation = static_cast<uint64_t>(row.Int(0));
  record.digest = row.Bytes(1);
  v1::RoutingPlan plan;
  api::RequestErrors errors;
  const bool parsed = plan.ParseFromString(row.Bytes(2));
  if (parsed) record.spec = api::ToPlanSpec(plan, "plan", &errors);
  const std::optional<routing::PlanSource> source = routing::PlanSourceOf(row.Bytes(3));
  if (row.Int(0) < 1 || !parsed || !errors.empty() || !source) {
    return absl::DataLossError(
        absl::StrCat("the stored plan of generation ", row.Int(0), " is not readable"));
  }
  record.source = *source;
  record.actor = row.Bytes(4);
  record.activate_time = absl::FromUnixNanos(row.Int(5));
  if (!row.IsNull(6)) record.expire_time = absl::FromUnixNanos(row.Int(6));
  record.fallback_generation = static_cast<uint64_t>(row.Int(7));
  return record;
}

absl::Status NoSuchPlan(uint64_t generation) {
  return absl::NotFoundError(absl::StrCat("no plan of generation ", generation, " is stored"));
}

}  // namespace

absl::Status PlanTable::Append(const routing::PlanChange& change) {
  absl::MutexLock lock(&database_->mu());
  Transaction transaction(database_);
  absl::Status status = transaction.Begin();
  if (status.ok() && change.plan) status = InsertPlan(*change.plan);
  if (status.ok() && change.answer) status = InsertAnswer(*change.answer);
  if (status.ok() && change.file_digest) status = SetFileDigest(*change.file_digest);
  if (status.ok()) status = transaction.Commit();
  if (status.ok() && change.plan) RaiseMark(change.plan->generation);
  return status;
}

void PlanTable::RaiseMark(uint64_t generation) {
  const absl::Status status = mark_->Raise(generation);
  LOG_IF(WARNING, !status.ok()) << "generation " << generation
                                << " is stored, but its mark is not: " << status.message();
}

absl::Status PlanTable::InsertPlan(const PlanRecord& record) {
  absl::StatusOr<Statement> insert =
      database_->Prepare("INSERT INTO plans VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
  if (!insert.ok()) return insert.status();
  insert->BindInt(1, ToInt(record.generation));
  insert->BindText(2, record.digest);
  insert->BindBlob(3, api::ToProto(record.spec).SerializeAsString());
  insert->BindText(4, routing::PlanSourceName(record.source));
  insert->BindText(5, record.actor);
  insert->BindInt(6, absl::ToUnixNanos(record.activate_time));
  if (record.has_ttl()) {
    insert->BindInt(7, absl::ToUnixNanos(record.expire_time));
  } else {
    insert->BindNull(7);
  }
  insert->BindInt(8, ToInt(record.fallback_generation));
  if (absl::Status status = insert->Run(); !status.ok()) return status;

  absl::StatusOr<Statement> forget = database_->Prepare(
      "DELETE FROM plans WHERE generation <= ?1 AND generation IS NOT "
      "(SELECT max(generation) FROM plans WHERE expire_ns IS NULL)");
  if (!forget.ok()) return forget.status();
  forget->BindInt(1, ToInt(record.generation) - kMaxPlans);
  return forget->Run();
}

absl::Status PlanTable::InsertAnswer(const KeptAnswer& answer) {
  absl::StatusOr<Statement> insert =
      database_->Prepare("INSERT INTO answers (key, request_digest, answer) VALUES (?1, ?2, ?3)");
  if (!insert.ok()) return insert.status();
  insert->BindText(1, answer.key);
  insert->BindText(2, answer.request_digest);
  insert->BindBlob(3, api::ToProto(answer.answer).SerializeAsString());
  if (absl::Status status = insert->Run(); !status.ok()) return status;

  absl::StatusOr<Statement> forget = database_->Prepare(
      "DELETE FROM answers WHERE number <= (SELECT max(number) FROM answers) - ?1");
  if (!forget.ok()) return forget.status();
  forget->BindInt(1, kMaxAnswers);
  return forget->Run();
}

absl::Status PlanTable::SetFileDigest(const std::string& digest) {
  absl::StatusOr<Statement> replace =
      database_->Prepare("INSERT OR REPLACE INTO plan_file VALUES (1, ?1)");
  if (!replace.ok()) return replace.status();
  replace->BindText(1, digest);
  return replace->Run();
}

absl::Status PlanTable::SetExpireTime(uint64_t generation, absl::Time expire_time) {
  absl::MutexLock lock(&database_->mu());
  Transaction transaction(database_);
  if (absl::Status status = transaction.Begin(); !status.ok()) return status;
  absl::StatusOr<Statement> update = database_->Prepare(
      "UPDATE plans SET expire_ns = ?2 WHERE generation = ?1 RETURNING generation");
  if (!update.ok()) return update.status();
  update->BindInt(1, ToInt(generation));
  update->BindInt(2, absl::ToUnixNanos(expire_time));
  const absl::StatusOr<bool> found = update->Step();
  if (!found.ok()) return found.status();
  if (!*found) return NoSuchPlan(generation);
  if (absl::Status status = update->Run(); !status.ok()) return status;
  return transaction.Commit();
}

absl::StatusOr<std::vector<PlanRecord>> PlanTable::List(uint64_t before, size_t limit) const {
  absl::MutexLock lock(&database_->mu());
  absl::StatusOr<Statement> select = database_->Prepare(kListPlans);
  if (!select.ok()) return select.status();
  select->BindInt(1, ToInt(before));
  select->BindInt(2, static_cast<int64_t>(limit));
  std::vector<PlanRecord> records;
  while (true) {
    const absl::StatusOr<bool> row = select->Step();
    if (!row.ok()) return row.status();
    if (!*row) return records;
    absl::StatusOr<PlanRecord> record = ReadRecord(*select);
    if (!record.ok()) return record.status();
    records.push_back(*std::move(record));
  }
}

absl::StatusOr<PlanRecord> PlanTable::Find(uint64_t generation) const {
  absl::MutexLock lock(&database_->mu());
  absl::StatusOr<Statement> select = database_->Prepare(kFindPlan);
  if (!select.ok()) return select.status();
  select->BindInt(1, ToInt(generation));
  const absl::StatusOr<bool> row = select->Step();
  if (!row.ok()) return row.status();
  if (!*row) return NoSuchPlan(generation);
  return ReadRecord(*select);
}

absl::StatusOr<std::optional<KeptAnswer>> PlanTable::FindAnswer(std::string_view key) const {
  absl::MutexLock lock(&database_->mu());
  absl::StatusOr<Statement> select =
      database_->Prepare("SELECT key, request_digest, answer FROM answers WHERE key = ?1");
  if (!select.ok()) return select.status();
  select->BindText(1, key);
  const absl::StatusOr<bool> row = select->Step();
  if (!row.ok()) return row.status();
  if (!*row) return std::optional<KeptAnswer>();
  v1::PatchRoutersResponse answer;
  std::optional<routing::PatchAnswer> value;
  if (answer.ParseFromString(select->Bytes(2))) value = api::FromProto(answer);
  if (!value) {
    return absl::DataLossError("the answer kept for this idempotency_key is not readable");
  }
  return std::optional<KeptAnswer>({select->Bytes(0), select->Bytes(1), *std::move(value)});
}

absl::StatusOr<std::string> PlanTable::FileDigest() const {
  absl::MutexLock lock(&database_->mu());
  absl::StatusOr<Statement> select = database_->Prepare("SELECT digest FROM plan_file");
  if (!select.ok()) return select.status();
  const absl::StatusOr<bool> row = select->Step();
  if (!row.ok()) return row.status();
  return *row ? select->Bytes(0) : std::string();
}

}  // namespace olmoe::state
