#include "tests/routing/reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace olmoe::routing::reference {
namespace {

// Relative error that an fp32 softmax may have.
constexpr double kSlack = 3e-5;

// A count computed three times: from the true probabilities, and from the largest
// and the smallest that fp32 could give for them.
struct Counts {
  int exact, low, high;
  bool differ() const { return exact != low || exact != high; }
};

int TopPCount(const std::vector<double>& q, double p, double factor) {
  double sum = 0;
  for (size_t k = 1; k <= q.size(); ++k) {
    sum += q[k - 1] * factor;
    if (sum >= p) return static_cast<int>(k);
  }
  return static_cast<int>(q.size());
}

int MinPCount(const std::vector<double>& q, double ratio, double factor) {
  int count = 0;
  for (const double prob : q) count += prob >= ratio * q[0] * factor ? 1 : 0;
  return count;
}

int BhCount(const std::vector<double>& p, double alpha) {
  const int m = static_cast<int>(p.size());
  int last = 0;
  for (int k = 1; k <= m; ++k) {
    if (p[k - 1] * m <= alpha * k) last = k;
  }
  return last;
}

double Hc(double p, int i, int n) {
  return std::sqrt(double(n)) * (i / double(n) - p) / std::sqrt(p * (1 - p) + 1e-10);
}

std::vector<int> HcCandidates(const std::vector<double>& p, const HigherCriticism& rule) {
  const int n = static_cast<int>(p.size());
  std::vector<int> ranks;
  for (int i = static_cast<int>(*rule.bounds.min_k); i <= n; ++i) {
    const bool candidate =
        rule.beta ? i <= std::max(1, static_cast<int>(n * *rule.beta)) : p[i - 1] < i / double(n);
    if (candidate) ranks.push_back(i);
  }
  return ranks;
}

int HcCount(const std::vector<double>& p, const HigherCriticism& rule) {
  int best = 0;
  for (const int i : HcCandidates(p, rule)) {
    if (best == 0 || Hc(p[i - 1], i, p.size()) > Hc(p[best - 1], best, p.size())) best = i;
  }
  return best;
}

// Could p-values between `low` and `high` move the maximum away from `best`?
bool HcDependsOnRounding(const std::vector<double>& p, const std::vector<double>& low,
                         const std::vector<double>& high, const HigherCriticism& rule, int best) {
  const int n = static_cast<int>(p.size());
  if (HcCandidates(low, rule) != HcCandidates(high, rule)) return true;
  if (best == 0) return false;
  const auto range = [&](int i) {
    return std::minmax({Hc(low[i - 1], i, n), Hc(p[i - 1], i, n), Hc(high[i - 1], i, n)});
  };
  const double least = range(best).first;
  for (const int i : HcCandidates(p, rule)) {
    if (i != best && range(i).second >= least) return true;
  }
  return false;
}

double CdfPValue(const Cdf& cdf, float z) {
  const size_t n = cdf.cdf.size();
  const double t = (static_cast<double>(z) - cdf.x0) / cdf.dx;
  if (t <= 0) return 1 - cdf.cdf[0];
  if (t >= static_cast<double>(n - 1)) return 1 - cdf.cdf[n - 1];
  const double i = std::floor(t);
  const double here = 1 - cdf.cdf[static_cast<size_t>(i)];
  const double next = 1 - cdf.cdf[static_cast<size_t>(i) + 1];
  return here + (t - i) * (next - here);
}

double Clamp(double p) { return p < 1e-12 ? 1e-12 : p > 1 ? 1 : p; }

// Ranked p-values; for probabilities also with the largest and smallest errors.
struct PValues {
  std::vector<double> p, low, high;
};

template <typename Kind>
PValues RankedPValues(const std::vector<float>& logits, const Kind& kind, const Cdf& cdf) {
  PValues result;
  const std::vector<double> q = Softmax(logits, kind.p_values.temperature);
  for (const int expert : Order(logits)) {
    if (kind.p_values.kind == PValueKind::kLayerCdf) {
      result.p.push_back(Clamp(CdfPValue(cdf, logits[expert])));
    } else {
      result.p.push_back(Clamp(1 - q[expert]));
      result.low.push_back(Clamp(1 - q[expert] * (1 + kSlack)));
      result.high.push_back(Clamp(1 - q[expert] * (1 - kSlack)));
    }
  }
  return result;
}

std::vector<double> RankedProbabilities(const std::vector<float>& logits) {
  const std::vector<double> q = Softmax(logits, 1);
  std::vector<double> ranked;
  for (const int expert : Order(logits)) ranked.push_back(q[expert]);
  return ranked;
}

struct Raw {
  int count = 0;
  bool depends_on_rounding = false;
  int min_k = 1, max_k = 0;
};

Raw RawOf(const Counts& counts, uint32_t min_k, uint32_t max_k) {
  return {counts.exact, counts.differ(), static_cast<int>(min_k), static_cast<int>(max_k)};
}

Raw RawCount(const std::vector<float>& logits, const Rule& rule, const Cdf& cdf) {
  if (const auto* top_k = std::get_if<TopK>(&rule.kind)) {
    const int k = static_cast<int>(top_k->k);
    return {k, false, k, k};
  }
  if (const auto* top_p = std::get_if<TopP>(&rule.kind)) {
    const std::vector<double> q = RankedProbabilities(logits);
    return RawOf({TopPCount(q, top_p->p, 1), TopPCount(q, top_p->p, 1 - kSlack),
                  TopPCount(q, top_p->p, 1 + kSlack)},
                 *top_p->bounds.min_k, *top_p->bounds.max_k);
  }
  if (const auto* min_p = std::get_if<MinP>(&rule.kind)) {
    const std::vector<double> q = RankedProbabilities(logits);
    return RawOf({MinPCount(q, min_p->ratio, 1), MinPCount(q, min_p->ratio, 1 - kSlack),
                  MinPCount(q, min_p->ratio, 1 + kSlack)},
                 *min_p->bounds.min_k, *min_p->bounds.max_k);
  }
  if (const auto* bh = std::get_if<BenjaminiHochberg>(&rule.kind)) {
    const PValues p = RankedPValues(logits, *bh, cdf);
    const int exact = BhCount(p.p, bh->alpha);
    if (p.low.empty()) return RawOf({exact, exact, exact}, *bh->bounds.min_k, *bh->bounds.max_k);
    return RawOf({exact, BhCount(p.high, bh->alpha), BhCount(p.low, bh->alpha)}, *bh->bounds.min_k,
                 *bh->bounds.max_k);
  }
  const auto& hc = std::get<HigherCriticism>(rule.kind);
  const PValues p = RankedPValues(logits, hc, cdf);
  const int best = HcCount(p.p, hc);
  return {best, !p.low.empty() && HcDependsOnRounding(p.p, p.low, p.high, hc, best),
          static_cast<int>(*hc.bounds.min_k), static_cast<int>(*hc.bounds.max_k)};
}

double TemperatureOf(const Rule& rule) {
  if (const auto* bh = std::get_if<BenjaminiHochberg>(&rule.kind)) return bh->p_values.temperature;
  if (const auto* hc = std::get_if<HigherCriticism>(&rule.kind)) return hc->p_values.temperature;
  return 1;
}

}  // namespace

std::vector<int> Order(const std::vector<float>& logits) {
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  return order;
}

std::vector<double> Softmax(const std::vector<float>& logits, double temperature) {
  const double max = *std::max_element(logits.begin(), logits.end());
  std::vector<double> q;
  double sum = 0;
  for (const float z : logits) {
    q.push_back(std::exp((z - max) / temperature));
    sum += q.back();
  }
  for (double& prob : q) prob /= sum;
  return q;
}

Decision Decide(const std::vector<float>& logits, const Rule& rule, const Cdf& cdf) {
  const Raw raw = RawCount(logits, rule, cdf);
  Decision decision;
  decision.k_raw = raw.count;
  decision.k = std::min(std::max(raw.count, raw.min_k), raw.max_k);
  decision.min_hit = raw.count < raw.min_k;
  decision.max_hit = raw.count > raw.max_k;
  decision.depends_on_rounding = raw.depends_on_rounding;
  const std::vector<double> q = RankedProbabilities(logits);
  decision.selected_mass = std::accumulate(q.begin(), q.begin() + decision.k, 0.0);
  return decision;
}

std::vector<double> Weights(const std::vector<float>& logits, const Rule& rule,
                            const RouterShape& shape, int k) {
  const std::vector<double> q = Softmax(logits, TemperatureOf(rule));
  const std::vector<int> order = Order(logits);
  std::vector<double> weights;
  for (int i = 0; i < k; ++i) weights.push_back(q[order[i]]);
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  double target = sum;
  if (rule.weight_mode == WeightMode::kSumToOne) target = 1;
  if (rule.weight_mode == WeightMode::kMatchTopKMass) {
    const std::vector<double> native = RankedProbabilities(logits);
    target = std::accumulate(native.begin(), native.begin() + shape.default_k, 0.0);
  }
  for (double& weight : weights) weight *= target / sum;
  return weights;
}

}  // namespace olmoe::routing::reference
