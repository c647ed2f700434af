// Random rows and random rules against tests/routing/reference.h: every count, flag
// and expert must be equal, every weight within the tolerance of the vectors. Rows
// where rounding of an fp32 probability decides are drawn again (their share is
// checked); p-values of tables are the same double operations on both sides, so
// nothing is left out there.
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string_view>

#include "gtest/gtest.h"
#include "server/routing/calibration.h"
#include "server/routing/count.h"
#include "server/routing/logit_row.h"
#include "server/routing/route.h"
#include "tests/routing/reference.h"

namespace olmoe::routing {
namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kRows = 50'000;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
constexpr int kRows = 50'000;
#else
constexpr int kRows = 1'000'000;
#endif
#else
constexpr int kRows = 1'000'000;
#endif

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {
    for (int i = 0; i < 256; ++i) cdfs_.push_back(NextCdf());
    for (const reference::Cdf& cdf : cdfs_) {
      tables_.push_back(CdfTable::FromCdf(cdf.x0, cdf.dx, cdf.cdf));
    }
  }

  RouterShape NextShape() {
    static constexpr int kSizes[] = {1, 2, 7, 8, 9, 16, 24, 60, 64, 64, 64, 127, 128};
    const int size = Chance(0.9) ? kSizes[Below(std::size(kSizes))] : 1 + Below(kMaxExperts);
    return {1, size, 1 + Below(std::min(size, 16)), Chance(0.5)};
  }

  // Index into cdf() and table().
  size_t NextTable() { return Below(cdfs_.size()); }
  const reference::Cdf& cdf(size_t i) const { return cdfs_[i]; }
  const CdfTable& table(size_t i) const { return tables_[i]; }

  std::vector<float> NextLogits(int size, const reference::Cdf& cdf) {
    std::vector<float> row;
    const int style = Below(10);
    const double scale = std::exp(Uniform(-1.5, 1.5));
    for (int i = 0; i < size; ++i) row.push_back(NextLogit(style, scale, cdf));
    if (style == 1) row[Below(size)] += 30;  // one expert dominates
    return row;
  }

  Rule NextRule(const RouterShape& shape) {
    Rule rule;
    static constexpr WeightMode kModes[] = {WeightMode::kModelDefault, WeightMode::kNative,
                                            WeightMode::kSumToOne, WeightMode::kMatchTopKMass};
    rule.weight_mode = kModes[Below(4)];
    switch (Below(8)) {
      case 0: rule.kind = TopK{static_cast<uint32_t>(1 + Below(shape.num_experts))}; break;
      case 1: {
        TopP top_p;
        top_p.p = Uniform(0.01, 1);
        rule.kind = WithBounds(top_p, shape);
        break;
      }
      case 2: {
        MinP min_p;
        min_p.ratio = std::exp(Uniform(-8, 0));
        rule.kind = WithBounds(min_p, shape);
        break;
      }
      case 3:
      case 4:
      case 5: {
        BenjaminiHochberg bh;
        bh.alpha = Chance(0.5) ? Uniform(0.001, 1) : (1 + Below(64)) / 64.0;
        rule.kind = WithBounds(WithPValue(bh), shape);
        break;
      }
      default: {
        HigherCriticism hc;
        if (Chance(0.5)) hc.beta = Uniform(0.001, 1);
        rule.kind = WithBounds(WithPValue(hc), shape);
      }
    }
    return rule;
  }

  bool Chance(double p) { return Uniform(0, 1) < p; }

 private:
  int Below(size_t n) {
    return static_cast<int>(std::uniform_int_distribution<size_t>(0, n - 1)(random_));
  }
  double Uniform(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random_);
  }
  double Normal() { return std::normal_distribution<double>()(random_); }

  float NextLogit(int style, double scale, const reference::Cdf& cdf) {
    switch (style) {
      case 2:  // many ties, zeros of both signs
        return Chance(0.2) ? -0.0f : static_cast<float>(std::round(Normal() * 2) / 2);
      case 3:  // on the points of the grid
        return static_cast<float>(cdf.x0 + cdf.dx * Below(cdf.cdf.size()));
      case 4: return static_cast<float>(Normal() * 1e37);
      case 5:  // denormal
        return std::bit_cast<float>(static_cast<uint32_t>(Below(1000)) |
                                    (Chance(0.5) ? 1u << 31 : 0u));
      case 6:  // far apart
        return static_cast<float>(Normal() * 60);
      default: return static_cast<float>(Normal() * scale - 1);
    }
  }

  reference::Cdf NextCdf() {
    reference::Cdf cdf;
    const bool exact = Chance(0.3);  // binary fractions: p E = alpha k happens
    const int n = 2 + Below(300);
    cdf.x0 = exact ? -4 : Uniform(-8, 1);
    cdf.dx = exact ? 1.0 / 64 : std::exp(Uniform(-5, 0));
    std::vector<double> points;
    for (int i = 0; i < n; ++i) points.push_back(Uniform(0, 1));
    for (double& point : points) point = exact ? std::round(point * 64) / 64 : std::pow(point, 0.3);
    std::sort(points.begin(), points.end());
    if (Chance(0.7)) points.back() = 1;
    cdf.cdf = points;
    return cdf;
  }

  template <typename Kind>
  Kind WithBounds(Kind kind, const RouterShape& shape) {
    const uint32_t experts = static_cast<uint32_t>(shape.num_experts);
    if (Chance(0.5)) kind.bounds.min_k = 1 + static_cast<uint32_t>(Below(experts));
    if (Chance(0.5)) {
      const uint32_t low = kind.bounds.min_k.value_or(1);
      kind.bounds.max_k = low + static_cast<uint32_t>(Below(experts - low + 1));
    }
    return kind;
  }

  template <typename Kind>
  Kind WithPValue(Kind kind) {
    kind.p_values.kind = Chance(0.75) ? PValueKind::kLayerCdf : PValueKind::kOneMinusProb;
    if (Chance(0.4)) kind.p_values.temperature = std::exp(Uniform(-1, 1));
    return kind;
  }

  std::mt19937_64 random_;
  std::vector<reference::Cdf> cdfs_;
  std::vector<CdfTable> tables_;
};

bool Close(double value, double expected) {
  return std::abs(value - expected) <= 2e-5 * expected + 1e-37;
}

bool SameDecision(const Decision& decision, const reference::Decision& expected) {
  return decision.k == expected.k && decision.min_hit == expected.min_hit &&
         decision.max_hit == expected.max_hit &&
         Close(decision.selected_mass, expected.selected_mass);
}

// Empty where everything agrees, else what does not.
std::string_view Difference(const std::vector<float>& logits, const RouterShape& shape,
                            const LayerRule& apply, const reference::Decision& expected,
                            const RowRouting& routing) {
  LogitRow row(logits);
  if (RawCount(apply, &row) != expected.k_raw) return "k_raw";
  if (!SameDecision(routing.applied, expected)) return "decision";
  const std::vector<int> order = reference::Order(logits);
  if (!std::equal(order.begin(), order.begin() + expected.k, routing.experts.begin())) {
    return "experts";
  }
  const std::vector<double> weights = reference::Weights(logits, apply.rule, shape, expected.k);
  for (int i = 0; i < expected.k; ++i) {
    if (!Close(routing.weights[i], weights[i])) return "weight";
  }
  double entropy = 0;
  for (const double q : reference::Softmax(logits, 1)) entropy -= q > 0 ? q * std::log(q) : 0;
  if (std::abs(routing.router_entropy - entropy) > 2e-5) return "entropy";
  return "";
}

// The row routed with an analyzed rule must be the same, and the analyzed decision
// that of the rule on its own.
std::string_view AnalyzeDifference(const std::vector<float>& logits, const RouterShape& shape,
                                   const LayerRule& apply, const LayerRule& analyze,
                                   const reference::Decision& expected, const RowRouting& alone) {
  RowRouting both;
  if (RouteRow(logits, shape, apply, &analyze, {}, &both) != RouteError::kNone) return "error";
  if (!SameDecision(*both.analyzed, expected)) return "analyzed decision";
  const int k = alone.applied.k;
  if (both.applied.k != k) return "applied k changed by analyze";
  for (int i = 0; i < k; ++i) {
    if (both.experts[i] != alone.experts[i] ||
        std::bit_cast<uint32_t>(both.weights[i]) != std::bit_cast<uint32_t>(alone.weights[i])) {
      return "applied experts changed by analyze";
    }
  }
  const std::vector<int> order = reference::Order(logits);
  if (!std::equal(order.begin(), order.begin() + expected.k, both.analyzed_experts.begin())) {
    return "analyzed experts";
  }
  return "";
}

TEST(PropertyTest, RulesAgreeWithTheReferenceOnRandomRows) {
  Generator generator(20240917);
  int compared = 0, drawn_again = 0;
  while (compared < kRows) {
    const RouterShape shape = generator.NextShape();
    const size_t table = generator.NextTable();
    const std::vector<float> logits = generator.NextLogits(shape.num_experts, generator.cdf(table));
    const LayerRule apply =
        MakeLayerRule(generator.NextRule(shape), shape, &generator.table(table));
    const LayerRule analyze =
        MakeLayerRule(generator.NextRule(shape), shape, &generator.table(table));
    const auto expected = reference::Decide(logits, apply.rule, generator.cdf(table));
    const auto analyzed = reference::Decide(logits, analyze.rule, generator.cdf(table));
    if (expected.depends_on_rounding || analyzed.depends_on_rounding) {
      ++drawn_again;
      continue;
    }
    RowRouting routing;
    ASSERT_EQ(RouteRow(logits, shape, apply, nullptr, {}, &routing), RouteError::kNone);
    ASSERT_EQ(Difference(logits, shape, apply, expected, routing), "") << "row " << compared;
    ASSERT_EQ(AnalyzeDifference(logits, shape, apply, analyze, analyzed, routing), "")
        << "row " << compared;
    ++compared;
  }
  EXPECT_LT(drawn_again, kRows / 50);
  RecordProperty("drawn_again", drawn_again);
}

}  // namespace
}  // namespace olmoe::routing
