#include "server/model/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "glog/logging.h"
#include "server/model/log_softmax.h"
#include "server/util/fast_exp.h"
#include "server/util/philox.h"

namespace olmoe::model {
namespace {

struct Candidate {
  float logit = 0;
  TokenId token = 0;
  float weight = 0;  // of Draw
};

// The order of tokens: see sampler.h.
bool Before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

absl::Status CheckFinite(std::span<const float> logits) {
  if (AllFinite(logits)) return absl::OkStatus();
  return absl::InternalError("head: logits are not finite");
}

float LogitOf(std::span<const float> logits, TokenId token) {
  CHECK(token >= 0 && static_cast<size_t>(token) < logits.size()) << "token " << token;
  return logits[static_cast<size_t>(token)];
}

TokenId FirstToken(std::span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// The first `top` tokens, by a heap of that size whose front is the last of them.
std::vector<TokenLogprob> TopLogprobs(std::span<const float> logits, int top, double log_sum) {
  const size_t size = std::min(static_cast<size_t>(std::max(top, 0)), logits.size());
  std::vector<Candidate> heap;
  heap.reserve(size + 1);
  for (size_t i = 0; i < logits.size() && size > 0; ++i) {
    // Ids ascend, so an equal logit comes after what is there.
    if (heap.size() == size && logits[i] <= heap.front().logit) continue;
    heap.push_back({logits[i], static_cast<TokenId>(i)});
    std::push_heap(heap.begin(), heap.end(), Before);
    if (heap.size() <= size) continue;
    std::pop_heap(heap.begin(), heap.end(), Before);
    heap.pop_back();
  }
  std::sort_heap(heap.begin(), heap.end(), Before);
  std::vector<TokenLogprob> result;
  for (const Candidate& candidate : heap) {
    result.push_back({candidate.token, static_cast<float>(candidate.logit - log_sum)});
  }
  return result;
}

// Calls function(token, count) for each token of `history`.
template <class Function>
void ForDistinct(std::span<const TokenId> history, const Function& function) {
  std::vector<TokenId> tokens(history.begin(), history.end());
  std::ranges::sort(tokens);
  for (auto first = tokens.begin(); first != tokens.end();) {
    const auto end = std::upper_bound(first, tokens.end(), *first);
    function(*first, end - first);
    first = end;
  }
}

bool IsUnchanged(const SampleRequest& request) {
  const SamplingParams& params = request.params;
  const bool penalizes = params.repetition_penalty != 1 || params.presence_penalty != 0 ||
                         params.frequency_penalty != 0;
  return params.logit_bias.empty() && (!penalizes || request.history.empty());
}

// The logits that are drawn from: with the bias, then the penalties.
std::vector<float> Changed(std::span<const float> logits, const SampleRequest& request) {
  const SamplingParams& params = request.params;
  std::vector<float> result(logits.begin(), logits.end());
  const auto set = [&result](TokenId token, double logit) {
    // What is in range can still carry a huge logit out of it.
    constexpr double kLimit = std::numeric_limits<float>::max();
    result[static_cast<size_t>(token)] = static_cast<float>(std::clamp(logit, -kLimit, kLimit));
  };
  for (const auto& [token, bias] : params.logit_bias) {
    set(token, double{LogitOf(result, token)} + double{bias});
  }
  if (params.repetition_penalty != 1) {
    ForDistinct(request.history, [&](TokenId token, ptrdiff_t) {
      const double logit = LogitOf(result, token);
      set(token, logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty);
    });
  }
  if (params.presence_penalty != 0 || params.frequency_penalty != 0) {
    const auto completion = request.history.subspan(static_cast<size_t>(request.prompt_tokens));
    ForDistinct(completion, [&](TokenId token, ptrdiff_t count) {
      set(token, LogitOf(result, token) - params.presence_penalty -
                     params.frequency_penalty * static_cast<double>(count));
    });
  }
  return result;
}

// What is left to draw from. Thread-compatible.
class Draw {
 public:
  Draw(std::span<const float> logits, const SamplingParams& params) {
    candidates_.reserve(logits.size());
    for (size_t i = 0; i < logits.size(); ++i) {
      candidates_.push_back({logits[i], static_cast<TokenId>(i)});
    }
    KeepTopK(static_cast<size_t>(params.top_k));
    Weigh(params.temperature);
    KeepTopP(params.top_p);
    KeepMinP(params.min_p);
  }

  // The token at which the weights, summed up by ascending id (an order that does not
  // depend on how the filters moved them about), exceed `uniform` of their total.
  TokenId Take(double uniform) {
    const auto by_id = [](const Candidate& a, const Candidate& b) { return a.token < b.token; };
    if (!std::is_sorted(candidates_.begin(), candidates_.end(), by_id)) {
      std::sort(candidates_.begin(), candidates_.end(), by_id);
    }
    const double threshold = uniform * TotalWeight();
    double mass = 0;
    TokenId last = 0;
    for (const Candidate& candidate : candidates_) {
      if (candidate.weight <= 0) continue;
      mass += candidate.weight;
      last = candidate.token;
      if (mass > threshold) break;
    }
    return last;
  }

 private:
  // Before the temperature: it does not change the order.
  void KeepTopK(size_t k) {
    if (k == 0 || k >= candidates_.size()) return;
    std::nth_element(candidates_.begin(), At(k), candidates_.end(), Before);
    candidates_.resize(k);
  }

  // Probabilities up to a common factor: the first token of the order has weight 1.
  void Weigh(double temperature) {
    float maximum = candidates_.front().logit;
    for (const Candidate& candidate : candidates_) maximum = std::max(maximum, candidate.logit);
    for (Candidate& candidate : candidates_) {
      constexpr double kBelowAll = -1000;  // its exponential is 0
      const double scaled =
          (static_cast<double>(candidate.logit) - static_cast<double>(maximum)) / temperature;
      candidate.weight = ExpOfNonPositive(static_cast<float>(std::max(scaled, kBelowAll)));
    }
  }

  // Sorts no more than it has to: the prefix that is kept is usually short.
  void KeepTopP(double top_p) {
    if (top_p >= 1) return;
    const double wanted = top_p * TotalWeight();
    double mass = 0;
    size_t sorted = 0;
    constexpr size_t kFirstBatch = 64;
    constexpr size_t kGrowth = 8;
    for (size_t batch = kFirstBatch; sorted < candidates_.size(); batch *= kGrowth) {
      const size_t end = std::min(candidates_.size(), sorted + batch);
      std::nth_element(At(sorted), At(end), candidates_.end(), Before);
      std::sort(At(sorted), At(end), Before);
      for (; sorted < end; ++sorted) {
        mass += candidates_[sorted].weight;
        if (mass >= wanted) return candidates_.resize(sorted + 1);
      }
    }
  }

  void KeepMinP(double min_p) {
    if (min_p <= 0) return;
    std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < min_p; });
  }

  std::vector<Candidate>::iterator At(size_t i) {
    return candidates_.begin() + static_cast<ptrdiff_t>(i);
  }
  double TotalWeight() const {
    double total = 0;
    for (const Candidate& candidate : candidates_) total += candidate.weight;
    return total;
  }

  std::vector<Candidate> candidates_;
};

TokenId DrawToken(std::span<const float> logits, const SampleRequest& request) {
  const SamplingParams& params = request.params;
  if (params.temperature == 0) return FirstToken(logits);
  return Draw(logits, params).Take(UniformAt(params.seed, static_cast<uint64_t>(request.position)));
}

}  // namespace

absl::Status SampleRow(std::span<const float> logits, const SampleRequest& request,
                       SampledToken* out) {
  absl::Status status = CheckFinite(logits);
  if (!status.ok()) return status;
  if (IsUnchanged(request)) {
    out->token = DrawToken(logits, request);
  } else {
    out->token = DrawToken(Changed(logits, request), request);
  }
  out->logprob = 0;
  out->top.clear();
  if (!request.logprob && request.top == 0) return absl::OkStatus();
  const double log_sum = LogSumExp(logits);
  out->logprob = static_cast<float>(LogitOf(logits, out->token) - log_sum);
  out->top = TopLogprobs(logits, request.top, log_sum);
  return absl::OkStatus();
}

absl::Status ScoreRow(std::span<const float> logits, TokenId target, int top, ScoredRow* out) {
  absl::Status status = CheckFinite(logits);
  if (!status.ok()) return status;
  const float logit = LogitOf(logits, target);
  uint32_t before = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const bool first =
        logits[i] > logit || (logits[i] == logit && static_cast<TokenId>(i) < target);
    before += first ? 1u : 0u;
  }
  const double log_sum = LogSumExp(logits);
  out->logprob = static_cast<float>(logit - log_sum);
  out->rank = before + 1;
  out->top = TopLogprobs(logits, top, log_sum);
  return absl::OkStatus();
}

}  // namespace olmoe::model
