#include "server/routing/noise.h"

#include <array>
#include <cmath>

#include "server/util/philox.h"

namespace olmoe::routing {

void GumbelRow(const RowPlace& place, std::span<double> gumbel) {
  const auto low = [](uint64_t value) { return static_cast<uint32_t>(value); };
  const auto high = [](uint64_t value) { return static_cast<uint32_t>(value >> 32); };
  std::array<uint32_t, 4> words{};
  for (size_t expert = 0; expert < gumbel.size(); ++expert) {
    if (expert % 4 == 0) {
      words =
          Philox4x32({low(place.position), high(place.position), static_cast<uint32_t>(place.layer),
                      static_cast<uint32_t>(1 + expert / 4)},
                     {low(place.routing_seed), high(place.routing_seed)});
    }
    const double uniform = (words[expert % 4] + 0.5) * 0x1.0p-32;  // exact, never 0 or 1
    gumbel[expert] = -std::log(-std::log(uniform));
  }
}

}  // namespace olmoe::routing
