#include "server/routing/calibration_builder.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/routing/logit_row.h"

namespace olmoe::routing {

absl::Status LogitHistogram::AddRow(std::span<const float> logits, int trim_top) {
  CHECK(trim_top >= 0 && trim_top < static_cast<int>(logits.size()));
  if (!AllFinite(logits)) return absl::InvalidArgumentError("router logits with NaN or infinity");
  LogitRow row(logits);
  for (const uint8_t expert : row.Order(row.num_experts()).subspan(trim_top)) {
    const float z = logits[expert];
    if (z < kLowest) {
      ++under_;
    } else if (z >= kHighest) {
      ++over_;
    } else {
      // 64 z is exact; z + 32 would not be.
      ++bins_[static_cast<int>(std::floor(z * kBinsPerUnit)) - kLowest * kBinsPerUnit];
    }
  }
  return absl::OkStatus();
}

void LogitHistogram::Merge(const LogitHistogram& other) {
  under_ += other.under_;
  over_ += other.over_;
  std::transform(bins_.begin(), bins_.end(), other.bins_.begin(), bins_.begin(), std::plus<>());
}

uint64_t LogitHistogram::total() const {
  return std::accumulate(bins_.begin(), bins_.end(), under_ + over_);
}

CdfTable LogitHistogram::Table() const {
  const uint64_t all = total();
  CHECK_GT(all, 0u);
  CdfTable table{kLowest, 1.0 / kBinsPerUnit, {}};
  table.survival.reserve(kNumBins + 1);
  uint64_t at_or_above = all - under_;
  for (const uint64_t count : bins_) {
    table.survival.push_back(static_cast<double>(at_or_above) / static_cast<double>(all));
    at_or_above -= count;
  }
  table.survival.push_back(static_cast<double>(at_or_above) / static_cast<double>(all));
  return table;
}

absl::StatusOr<CalibrationBuilder> CalibrationBuilder::Create(const RouterShape& shape,
                                                              int trim_top) {
  if (trim_top < 0 || trim_top >= shape.num_experts) {
    return InvalidFields(
        {{"trim_top", absl::StrCat("must be 0..", shape.num_experts - 1, ", is ", trim_top)}});
  }
  return CalibrationBuilder(shape, trim_top);
}

CalibrationBuilder::CalibrationBuilder(const RouterShape& shape, int trim_top)
    : shape_(shape), trim_top_(trim_top), layers_(shape.num_layers) {}

absl::Status CalibrationBuilder::AddRow(int layer, std::span<const float> logits) {
  CHECK(layer >= 0 && layer < shape_.num_layers);
  CHECK_EQ(logits.size(), static_cast<size_t>(shape_.num_experts));
  return layers_[layer].AddRow(logits, trim_top_);
}

void CalibrationBuilder::Merge(const CalibrationBuilder& other) {
  CHECK(shape_ == other.shape_ && trim_top_ == other.trim_top_);
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    layers_[layer].Merge(other.layers_[layer]);
  }
}

uint64_t CalibrationBuilder::num_tokens() const {
  uint64_t fewest = UINT64_MAX;
  for (const LogitHistogram& histogram : layers_) fewest = std::min(fewest, histogram.total());
  return fewest / static_cast<uint64_t>(shape_.num_experts - trim_top_);
}

absl::StatusOr<std::shared_ptr<const Calibration>> CalibrationBuilder::Build(
    std::string calibration_id) const {
  std::map<int, CdfTable> tables;
  for (int layer = 0; layer < shape_.num_layers; ++layer) {
    if (layers_[layer].total() == 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("no router logits were collected for layer ", layer));
    }
    tables.emplace(layer, layers_[layer].Table());
  }
  return Calibration::Create(
      {std::move(calibration_id), std::move(tables), num_tokens(), trim_top_});
}

}  // namespace olmoe::routing
