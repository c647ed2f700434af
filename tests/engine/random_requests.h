#ifndef OLMOE_TESTS_ENGINE_RANDOM_REQUESTS_H_
#define OLMOE_TESTS_ENGINE_RANDOM_REQUESTS_H_

#include <functional>
#include <random>
#include <string>
#include <variant>
#include <vector>

#include "tests/engine/harness.h"
#include "tests/engine/resumer.h"

namespace olmoe::engine {

// A request that can be made again and again, and what a solo run of it answers.
struct Specimen {
  std::variant<GenerateWork, ScoreWork> work;
  uint32_t k = 0;  // of its policy
  Reply solo;
};

// Completions and score requests of all shapes: lengths, policies, sampling, stop conditions,
// traces.
std::vector<Specimen> RandomSpecimens(int count, unsigned seed,
                                      const testing::FakeModelOptions& model,
                                      const text::Tokenizer* tokenizer);

// The flow of a sink that pauses on some of its callbacks.
std::function<Flow(const Reply&)> PauseNowAndThen(Resumer* resumer, int reader);

// What `reply` has given out is a beginning of `solo`.
bool IsBeginningOf(const Reply& reply, const Reply& solo);

}  // namespace olmoe::engine

#endif  // OLMOE_TESTS_ENGINE_RANDOM_REQUESTS_H_
