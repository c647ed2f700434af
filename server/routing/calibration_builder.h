#ifndef OLMOE_SERVER_ROUTING_CALIBRATION_BUILDER_H_
#define OLMOE_SERVER_ROUTING_CALIBRATION_BUILDER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/routing/calibration.h"
#include "server/routing/route.h"

namespace olmoe::routing {

// Counts of router logits on a fixed grid: bin j holds edge_j <= z < edge_(j+1) with
// edge_j = -32 + j / 64. The grid is the same everywhere, so histograms add up over
// rows, threads and machines in any order. Thread-compatible.
class LogitHistogram {
 public:
  static constexpr int kLowest = -32, kHighest = 32, kBinsPerUnit = 64;
  static constexpr int kNumBins = (kHighest - kLowest) * kBinsPerUnit;  // 4096

  LogitHistogram() : bins_(kNumBins, 0) {}

  // Counts the row without its `trim_top` highest logits (0 <= trim_top < E, by the
  // order of the rules). A row with NaN or an infinity: INVALID_ARGUMENT, and
  // nothing of it is counted.
  absl::Status AddRow(std::span<const float> logits, int trim_top);
  void Merge(const LogitHistogram& other);

  uint64_t under() const { return under_; }              // z < -32
  uint64_t over() const { return over_; }                // z >= 32
  std::span<const uint64_t> bins() const { return bins_; }  // [kNumBins]
  uint64_t total() const;                                // under, over and all bins

  // survival[j] = #{z >= edge_j} / total, from the counts and not as 1 - cdf: the
  // p-value at an edge is the share of the logits at or above it. total() > 0.
  CdfTable Table() const;

 private:
  uint64_t under_ = 0;
  uint64_t over_ = 0;
  std::vector<uint64_t> bins_;
};

// Collects the router logits of all layers and makes a calibration of them. Keeps
// counts only: no token, no text. Thread-compatible.
class CalibrationBuilder {
 public:
  // 0 <= trim_top < num_experts, otherwise INVALID_ARGUMENT naming "trim_top".
  static absl::StatusOr<CalibrationBuilder> Create(const RouterShape& shape, int trim_top);

  // `logits`: [num_experts] of one token. Errors: see LogitHistogram::AddRow.
  absl::Status AddRow(int layer, std::span<const float> logits);
  // `other` was made with the same arguments.
  void Merge(const CalibrationBuilder& other);

  const LogitHistogram& layer(int layer) const { return layers_[layer]; }
  // Rows of the layer that has the fewest.
  uint64_t num_tokens() const;

  // Errors: INVALID_ARGUMENT for the name; FAILED_PRECONDITION where a layer has no
  // rows.
  absl::StatusOr<std::shared_ptr<const Calibration>> Build(std::string calibration_id) const;

 private:
  CalibrationBuilder(const RouterShape& shape, int trim_top);

  RouterShape shape_;
  int trim_top_ = 0;
  std::vector<LogitHistogram> layers_;  // [num_layers]
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_CALIBRATION_BUILDER_H_
