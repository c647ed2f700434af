#include "server/state/calibration_table.h"

#include <bit>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace olmoe::state {
namespace {

using routing::Calibration;
using routing::CdfTable;

static_assert(std::endian::native == std::endian::little, "survival is stored little-endian");

std::string_view BytesOf(const std::vector<double>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double)};
}

std::vector<double> DoublesOf(const std::string& bytes) {
  std::vector<double> values(bytes.size() / sizeof(double));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(double));
  return values;
}

}  // namespace

absl::Status CalibrationTable::Put(const Calibration& calibration) {
  absl::MutexLock lock(&database_->mu());
  Transaction transaction(database_);
  if (absl::Status status = transaction.Begin(); !status.ok()) return status;
  if (absl::Status status = DeleteRows(calibration.calibration_id()); !status.ok()) return status;
  absl::StatusOr<Statement> insert =
      database_->Prepare("INSERT INTO calibrations VALUES (?1, ?2, ?3, ?4)");
  if (!insert.ok()) return insert.status();
  insert->BindText(1, calibration.calibration_id());
  insert->BindText(2, calibration.digest());
  insert->BindInt(3, static_cast<int64_t>(calibration.num_tokens()));
  insert->BindInt(4, calibration.trim_top());
  if (absl::Status status = insert->Run(); !status.ok()) return status;
  if (absl::Status status = InsertLayers(calibration); !status.ok()) return status;
  return transaction.Commit();
}

absl::Status CalibrationTable::InsertLayers(const Calibration& calibration) {
  absl::StatusOr<Statement> insert =
      database_->Prepare("INSERT INTO calibration_layers VALUES (?1, ?2, ?3, ?4, ?5)");
  if (!insert.ok()) return insert.status();
  for (const auto& [layer, table] : calibration.tables()) {
    insert->BindText(1, calibration.calibration_id());
    insert->BindInt(2, layer);
    insert->BindDouble(3, table.x0);
    insert->BindDouble(4, table.dx);
    insert->BindBlob(5, BytesOf(table.survival));
    if (absl::Status status = insert->Run(); !status.ok()) return status;
    insert->Reset();
  }
  return absl::OkStatus();
}

absl::Status CalibrationTable::DeleteRows(std::string_view calibration_id) {
  absl::StatusOr<Statement> remove =
      database_->Prepare("DELETE FROM calibrations WHERE calibration_id = ?1");
  if (!remove.ok()) return remove.status();
  remove->BindText(1, calibration_id);
  return remove->Run();
}

absl::Status CalibrationTable::Delete(std::string_view calibration_id) {
  absl::MutexLock lock(&database_->mu());
  Transaction transaction(database_);
  if (absl::Status status = transaction.Begin(); !status.ok()) return status;
  if (absl::Status status = DeleteRows(calibration_id); !status.ok()) return status;
  return transaction.Commit();
}

absl::StatusOr<std::vector<std::shared_ptr<const Calibration>>> CalibrationTable::LoadAll() const {
  absl::MutexLock lock(&database_->mu());
  absl::StatusOr<Statement> select = database_->Prepare(
      "SELECT calibration_id, digest, num_tokens, trim_top FROM calibrations "
      "ORDER BY calibration_id");
  if (!select.ok()) return select.status();
  std::vector<std::shared_ptr<const Calibration>> calibrations;
  while (true) {
    const absl::StatusOr<bool> row = select->Step();
    if (!row.ok()) return row.status();
    if (!*row) return calibrations;
    Calibration::Options options;
    options.calibration_id = select->Bytes(0);
    options.num_tokens = static_cast<uint64_t>(select->Int(2));
    options.trim_top = static_cast<int>(select->Int(3));
    if (absl::Status status = LoadLayers(&options); !status.ok()) return status;
    const std::string name = options.calibration_id;
    absl::StatusOr<std::shared_ptr<const Calibration>> calibration =
        Calibration::Create(std::move(options));
    if (!calibration.ok() || (*calibration)->digest() != select->Bytes(1)) {
      return absl::DataLossError(absl::StrCat("the stored calibration ", name, " is damaged"));
    }
    calibrations.push_back(*std::move(calibration));
  }
}

absl::Status CalibrationTable::LoadLayers(Calibration::Options* options) const {
  absl::StatusOr<Statement> select = database_->Prepare(
      "SELECT layer, x0, dx, survival FROM calibration_layers WHERE calibration_id = ?1");
  if (!select.ok()) return select.status();
  select->BindText(1, options->calibration_id);
  while (true) {
    const absl::StatusOr<bool> row = select->Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::OkStatus();
    CdfTable& table = options->tables[static_cast<int>(select->Int(0))];
    table.x0 = select->Double(1);
    table.dx = select->Double(2);
    table.survival = DoublesOf(select->Bytes(3));
  }
}

}  // namespace olmoe::state
