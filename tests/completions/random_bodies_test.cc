#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "tests/completions/fuzz_body.h"

namespace olmoe::completions {
namespace {

const std::vector<std::string>& Seeds() {
  static const auto& seeds = *new std::vector<std::string>{
      R"({"model":"tiny","prompt":"Once upon","max_tokens":7,"temperature":0.5,"top_p":0.9,"n":2,)"
      R"("best_of":2,"stream":true,"stream_options":{"include_usage":true},"logprobs":3})",
      R"({"prompt":["a","b"],"echo":true,"max_tokens":0,"stop":["x","yz"],"user":"u","seed":-1})",
      R"({"prompt":[1,2,3],"logit_bias":{"5":-100,"6":1.5},"presence_penalty":1,"min_p":0.1})",
      R"({"prompt":[[1,2],[3]],"routing":{"policy":{"policyId":"p","apply":{"topK":{"k":1}}}}})",
      R"({"prompt":"\u00e9\ud83d\ude00","routing":{"replay":{"trace":{"numPositions":1,)"
      R"("numLayers":2,"counts":"AQE=","experts":"AAA="}}},"routing_seed":7})"};
  return seeds;
}

// Bytes that mean something to JSON, and numbers at the ends of ranges.
constexpr std::string_view kPieces[] = {"{",          "}",     "[",          "]",
                                        "\"",         ",",     ":",          "null",
                                        "true",       "false", "-1",         "0",
                                        "1e9",        "1e308", "\\u",        "\\",
                                        "\xff",       "\xe2",  "4294967296", "18446744073709551616",
                                        "\"prompt\":"};

TEST(RandomBodiesTest, EveryBodyIsTakenOrRefused) {
  for (const std::string& seed : Seeds()) FuzzBody(seed);
  std::mt19937 random(7);
  const auto below = [&](size_t limit) {
    return std::uniform_int_distribution<size_t>(0, limit - 1)(random);
  };
  for (int i = 0; i < 20'000; ++i) {
    std::string body = Seeds()[below(Seeds().size())];
    for (size_t changes = 1 + below(4); changes > 0; --changes) {
      const size_t at = below(body.size() + 1);
      const size_t length = std::min(below(4), body.size() - at);
      switch (below(3)) {
        case 0: body.erase(at, length); break;
        case 1: body.replace(at, length, kPieces[below(std::size(kPieces))]); break;
        default: body.insert(at, body.substr(below(body.size() + 1), below(12)));
      }
    }
    FuzzBody(body);
  }
}

}  // namespace
}  // namespace olmoe::completions
