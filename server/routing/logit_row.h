#ifndef OLMOE_SERVER_ROUTING_LOGIT_ROW_H_
#define OLMOE_SERVER_ROUTING_LOGIT_ROW_H_

#include <array>
#include <cstdint>
#include <span>

#include "server/routing/rule.h"

namespace olmoe::routing {

// True where no logit is NaN or infinite.
bool AllFinite(std::span<const float> logits);

// One row of finite router logits and what every rule asks of it: probabilities
// and the order of the experts. The order is found only as far as it is needed:
// the native top-8 of 64 never sorts the other 56. Lives on the stack of the call
// that routes the row; refers to the logits. Thread-compatible.
class LogitRow {
 public:
  // `logits`: [1..kMaxExperts], finite, alive as long as the row.
  explicit LogitRow(std::span<const float> logits);
  LogitRow(const LogitRow&) = delete;
  LogitRow& operator=(const LogitRow&) = delete;

  int num_experts() const { return static_cast<int>(logits_.size()); }
  std::span<const float> logits() const { return logits_; }

  // The first `count` experts by (logit descending, id ascending); -0.0 equals 0.0.
  // Valid until the row is gone. 0 <= count <= num_experts.
  std::span<const uint8_t> Order(int count) {
    while (num_ordered_ < count) OrderNext();
    return {order_.data(), static_cast<size_t>(count)};
  }

  // 1-based rank of `expert` in that order; does not extend it.
  int Rank(int expert) const;

  // softmax(z) by expert id, [num_experts].
  std::span<const float> probabilities() const { return {probabilities_.data(), logits_.size()}; }
  // softmax(z / temperature); for a temperature other than 1 valid until the next call.
  std::span<const float> ProbabilitiesAt(double temperature);
  // Experts with at least that probability.
  int CountAtLeast(double probability) const;
  // Of softmax(z), nats.
  float entropy() const { return entropy_; }

  // sum of softmax(z) over the first `count` of the order.
  double MassOfFirst(int count);

 private:
  // Experts are kept in groups of 8 with the best of each group: the next expert
  // is the best of the groups' best, and only its group has to be looked at again.
  static constexpr int kGroup = 8;
  static constexpr int kMaxGroups = kMaxExperts / kGroup;

  void OrderNext();

  const std::span<const float> logits_;
  int num_groups_ = 0;
  int num_ordered_ = 0;
  float entropy_ = 0;
  double tempered_at_ = 1;  // temperature of tempered_; 1: not filled
  // Larger = earlier in the order; all different; 0 = taken, or padding.
  std::array<uint64_t, kMaxExperts> keys_;
  std::array<uint64_t, kMaxGroups> best_;  // largest key of each group
  std::array<uint8_t, kMaxExperts> order_;
  std::array<float, kMaxExperts> probabilities_;
  std::array<float, kMaxExperts> tempered_;
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_LOGIT_ROW_H_
