#ifndef OLMOE_SERVER_STATE_CALIBRATION_TABLE_H_
#define OLMOE_SERVER_STATE_CALIBRATION_TABLE_H_

#include <map>

#include "server/routing/calibration.h"
#include "server/state/named_table.h"

namespace olmoe::state {

// The tables calibrations and calibration_layers.
struct CalibrationRows {
  using Item = routing::Calibration;

  static constexpr char kInsert[] = "INSERT INTO calibrations VALUES (?1, ?2, ?3, ?4)";
  static constexpr char kInsertLayer[] =
      "INSERT INTO calibration_layers VALUES (?1, ?2, ?3, ?4, ?5)";
  static constexpr char kDelete[] = "DELETE FROM calibrations WHERE calibration_id = ?1";
  static constexpr char kSelect[] =
      "SELECT calibration_id, digest, num_tokens, trim_top FROM calibrations "
      "ORDER BY calibration_id";
  static constexpr char kSelectLayers[] =
      "SELECT calibration_id, layer, x0, dx, survival FROM calibration_layers "
      "WHERE calibration_id = ?1";

  static void Bind(const Item& calibration, Statement* insert);
  static const std::map<int, routing::CdfTable>& LayersOf(const Item& calibration) {
    return calibration.tables();
  }
  static void BindLayer(const routing::CdfTable& table, Statement* insert);
  static Item::Options Read(const Statement& row);
  // False: damaged.
  static bool ReadLayer(const Statement& row, Item::Options* options);
};

using CalibrationTable = NamedTable<CalibrationRows>;

}  // namespace olmoe::state

#endif  // OLMOE_SERVER_STATE_CALIBRATION_TABLE_H_
