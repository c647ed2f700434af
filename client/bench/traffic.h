// The requests of a run, and when they are due.
#ifndef OLMOE_CLIENT_BENCH_TRAFFIC_H_
#define OLMOE_CLIENT_BENCH_TRAFFIC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "client/bench/prompt_mix.h"
#include "client/eval/random.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::bench {

using BenchRequest = std::variant<v1::GenerateRequest, v1::ScoreRequest>;

// Draws 0..count-1: all alike, or Zipf's law with exponent 1, where number n is drawn
// 1 / (n + 1) as often as number 0. Immutable.
class UnitDraw {
 public:
  UnitDraw(uint32_t count, bool zipf);  // count > 0
  uint32_t Draw(eval::Random* random) const;

 private:
  const uint32_t count_;
  std::vector<double> ends_;  // sums of weights; empty: all alike
};

// The requests of a run: number i is the same for the same options, whatever the order and
// the speed. Immutable.
class Traffic {
 public:
  struct Options {
    uint64_t seed = 0;
    // Ids of random prompts, in place of the mix; 0 = the mix.
    uint32_t random_tokens = 0;
    uint32_t vocab_size = 0;
    uint32_t max_new_tokens = 32;  // of prompts that say nothing
    std::optional<double> temperature = std::nullopt;
    bool ignore_eos = false;
    std::string arm = {};
    uint32_t units = 0;  // 0 = none; unit ids are u0, u1, ...
    bool zipf = false;
  };
  Traffic(Options options, PromptMix mix);

  BenchRequest Make(uint64_t index) const;
  // Of request `index`: N of unit id uN, or where requests have no units the index, as then
  // each is a unit of its own.
  static uint64_t UnitOf(const BenchRequest& request, uint64_t index);

 private:
  Prompt RandomPrompt(eval::Random* random) const;
  v1::GenerateRequest MakeGenerate(const Prompt& prompt, eval::Random* random) const;
  v1::ScoreRequest MakeScore(const Prompt& prompt) const;
  // Arm and unit.
  template <typename Request>
  void Address(eval::Random* random, Request* request) const;

  const Options options_;
  const PromptMix mix_;
  const std::optional<UnitDraw> units_;
};

// When the requests of an open loop are due, whatever the server does: a Poisson process,
// as many independent users make one, or one every 1/rate. Same options, same times.
// Thread-compatible.
class Arrivals {
 public:
  struct Options {
    double per_second = 1;  // > 0
    bool constant = false;
    uint64_t seed = 0;
  };
  explicit Arrivals(const Options& options) : options_(options), random_(options.seed) {}

  // Of the next request, from the beginning; never earlier than the one before.
  absl::Duration Next();

 private:
  const Options options_;
  eval::Random random_;
  uint64_t count_ = 0;
  double seconds_ = 0;
};

}  // namespace olmoe::client::bench

#endif  // OLMOE_CLIENT_BENCH_TRAFFIC_H_
