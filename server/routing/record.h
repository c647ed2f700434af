#ifndef OLMOE_SERVER_ROUTING_RECORD_H_
#define OLMOE_SERVER_ROUTING_RECORD_H_

#include <cstdint>
#include <span>
#include <vector>

#include "server/routing/route.h"

namespace olmoe::routing {

// What the routers of one step decided: the only source of statistics and of
// traces. Ragged: a row takes as many slots as its decisions have experts.
// Rows are the rows of the step in batch order; layers are appended one by one.
// Thread-compatible.
class RoutingRecord {
 public:
  RoutingRecord() = default;
  // Empty, for `num_rows` rows; keeps the memory of the step before.
  void Reset(int num_layers, int num_rows);

  // Appends the next row of the next layer (row-major inside a layer). A row that
  // could not be routed is appended with k = 0 by AddFailed.
  void Add(const RowRouting& row);
  void AddFailed();

  int num_layers() const { return num_layers_; }
  int num_rows() const { return num_rows_; }

  // All of the following: 0 <= layer < num_layers, 0 <= row < num_rows, and the
  // row has been added.
  const Decision& applied(int layer, int row) const { return applied_[Index(layer, row)]; }
  // k == 0 where nothing was analyzed.
  const Decision& analyzed(int layer, int row) const { return analyzed_[Index(layer, row)]; }
  float router_entropy(int layer, int row) const { return entropy_[Index(layer, row)]; }
  // [applied(layer, row).k] ids of those that ran, in the order in which their results are summed.
  std::span<const uint8_t> experts(int layer, int row) const;
  // [analyzed(layer, row).k] ids of those that would have run.
  std::span<const uint8_t> analyzed_experts(int layer, int row) const;
  // [applied(layer, row).k]
  std::span<const float> weights(int layer, int row) const;

 private:
  size_t Index(int layer, int row) const {
    return static_cast<size_t>(layer) * static_cast<size_t>(num_rows_) + static_cast<size_t>(row);
  }

  int num_layers_ = 0;
  int num_rows_ = 0;
  std::vector<Decision> applied_;   // [layers * rows]
  std::vector<Decision> analyzed_;  // [layers * rows]
  std::vector<float> entropy_;      // [layers * rows]
  std::vector<uint32_t> offset_;    // [layers * rows + 1] into experts_
  std::vector<uint32_t> weights_offset_;  // [layers * rows] into weights_
  std::vector<uint8_t> experts_;    // of a row: those applied, then those analyzed
  std::vector<float> weights_;
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_RECORD_H_
