#include "server/stats/expert_delta.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <tuple>

namespace olmoe::stats {
namespace {

using Key = std::tuple<uint64_t, DecisionKind, engine::Phase>;

void Subtract(const std::vector<LayerCounts>& from, std::vector<LayerCounts>* layers) {
  for (size_t layer = 0; layer < from.size(); ++layer) (*layers)[layer] -= from[layer];
}

}  // namespace

std::vector<ExpertCounts> CountsSince(const std::vector<ExpertCounts>& now,
                                      const std::vector<ExpertCounts>& before) {
  std::vector<ExpertCounts> out = now;
  std::map<Key, ExpertCounts*> by_series;
  for (ExpertCounts& counts : out) by_series[{counts.series, counts.kind, counts.phase}] = &counts;
  for (const ExpertCounts& old : before) {
    auto found = by_series.find({old.series, old.kind, old.phase});
    if (found == by_series.end()) {
      found = by_series.find({old.earlier_series, old.kind, old.phase});
    }
    if (found != by_series.end()) Subtract(old.layers, &found->second->layers);
  }
  std::erase_if(out, [](const ExpertCounts& counts) { return counts.layers[0].tokens == 0; });
  return out;
}

}  // namespace olmoe::stats
