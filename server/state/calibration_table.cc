#include "server/state/calibration_table.h"

#include <bit>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace olmoe::state {
namespace {

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

void CalibrationRows::Bind(const Item& calibration, Statement* insert) {
  insert->BindInt(3, static_cast<int64_t>(calibration.num_tokens()));
  insert->BindInt(4, calibration.trim_top());
}

void CalibrationRows::BindLayer(const routing::CdfTable& table, Statement* insert) {
  insert->BindDouble(3, table.x0);
  insert->BindDouble(4, table.dx);
  insert->BindBlob(5, BytesOf(table.survival));
}

CalibrationRows::Item::Options CalibrationRows::Read(const Statement& row) {
  Item::Options options;
  options.calibration_id = row.Bytes(0);
  options.num_tokens = static_cast<uint64_t>(row.Int(2));
  options.trim_top = static_cast<int>(row.Int(3));
  return options;
}

bool CalibrationRows::ReadLayer(const Statement& row, Item::Options* options) {
  routing::CdfTable& table = options->tables[static_cast<int>(row.Int(1))];
  table.x0 = row.Double(2);
  table.dx = row.Double(3);
  table.survival = DoublesOf(row.Bytes(4));
  return true;
}

}  // namespace olmoe::state
