#ifndef OLMOE_SERVER_STATE_ROUTER_TABLE_H_
#define OLMOE_SERVER_STATE_ROUTER_TABLE_H_

#include <map>

#include "server/routing/router.h"
#include "server/state/named_table.h"

namespace olmoe::state {

// The tables routers and router_layers.
struct RouterRows {
  using Item = routing::Router;

  static constexpr char kInsert[] = "INSERT INTO routers VALUES (?1, ?2)";
  static constexpr char kInsertLayer[] = "INSERT INTO router_layers VALUES (?1, ?2, ?3, ?4)";
  static constexpr char kDelete[] = "DELETE FROM routers WHERE router_id = ?1";
  static constexpr char kSelect[] = "SELECT router_id, digest FROM routers ORDER BY router_id";
  static constexpr char kSelectLayers[] =
      "SELECT router_id, layer, dtype, weights FROM router_layers WHERE router_id = ?1";

  static void Bind(const Item&, Statement*) {}
  static const std::map<int, routing::RouterWeights>& LayersOf(const Item& router) {
    return router.layers();
  }
  static void BindLayer(const routing::RouterWeights& weights, Statement* insert);
  // No model has prepared it.
  static Item::Options Read(const Statement& row);
  // False: damaged.
  static bool ReadLayer(const Statement& row, Item::Options* options);
};

using RouterTable = NamedTable<RouterRows>;

}  // namespace olmoe::state

#endif  // OLMOE_SERVER_STATE_ROUTER_TABLE_H_
