#include "server/state/router_table.h"

#include <optional>
#include <string>

#include "server/util/dtype.h"

namespace olmoe::state {

void RouterRows::BindLayer(const routing::RouterWeights& weights, Statement* insert) {
  insert->BindText(3, DTypeName(weights.dtype()));
  insert->BindBlob(4, weights.bytes());
}

RouterRows::Item::Options RouterRows::Read(const Statement& row) {
  Item::Options options;
  options.router_id = row.Bytes(0);
  return options;
}

bool RouterRows::ReadLayer(const Statement& row, Item::Options* options) {
  const std::optional<DType> dtype = DTypeFromName(row.Bytes(2));
  const std::string bytes = row.Bytes(3);
  const bool known = dtype == DType::kFloat32 || dtype == DType::kBFloat16;
  if (!known || bytes.size() % DTypeBytes(*dtype) != 0) return false;
  options->layers[static_cast<int>(row.Int(1))] = routing::RouterWeights::FromBytes(*dtype, bytes);
  return true;
}

}  // namespace olmoe::state
