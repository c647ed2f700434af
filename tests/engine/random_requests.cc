#include "tests/engine/random_requests.h"

#include <algorithm>
#include <utility>

namespace olmoe::engine {
namespace {

class Generator {
 public:
  Generator(unsigned seed, int vocab_size) : random_(seed), vocab_size_(vocab_size) {}

  int Below(int bound) { return static_cast<int>(random_() % static_cast<unsigned>(bound)); }
  bool OneIn(int n) { return Below(n) == 0; }

  std::vector<TokenId> Tokens(int count) {
    std::vector<TokenId> tokens(count);
    for (TokenId& token : tokens) token = Below(vocab_size_);
    return tokens;
  }

  TraceOptions Trace() { return {.experts = OneIn(3), .weights = OneIn(4), .logits = OneIn(5)}; }

  GenerateWork Generate() {
    GenerateWork work;
    work.prompt = Tokens(OneIn(5) ? 1 + Below(120) : 1 + Below(12));
    work.max_new_tokens = 1 + Below(40);
    if (OneIn(2)) {
      work.sampling = {.temperature = 0.7 + 0.1 * Below(6),
                       .top_p = OneIn(2) ? 1 : 0.9,
                       .top_k = OneIn(2) ? 0 : 20,
                       .min_p = OneIn(2) ? 0 : 0.05,
                       .repetition_penalty = OneIn(2) ? 1 : 1.3,
                       .seed = random_()};
    } else {
      work.sampling.temperature = 0;
    }
    // Single characters, so that some are met; random two-character strings seldom are.
    for (int i = Below(4); i > 0; --i) {
      work.stop.emplace_back(1 + Below(2), static_cast<char>('a' + Below(26)));
    }
    if (OneIn(3)) work.stop_token_ids = Tokens(1 + Below(5));
    work.ignore_eos = OneIn(4);
    work.logprobs = OneIn(3);
    work.top_logprobs = work.logprobs ? Below(4) : 0;
    work.trace = Trace();
    if (OneIn(4)) work.num_choices = 2 + Below(3);
    if (OneIn(3)) work.prompt_logprobs = Below(4);
    if (work.prompt_logprobs.has_value() && OneIn(4)) work.max_new_tokens = 0;
    work.include_stop = OneIn(4);
    work.skip_special_tokens = !OneIn(4);
    return work;
  }

  ScoreWork Score() {
    ScoreWork work;
    for (int i = 1 + Below(6); i > 0; --i) {
      const int tokens = 2 + (OneIn(5) ? Below(100) : Below(12));
      work.windows.push_back({.tokens = Tokens(tokens), .first_scored = 1 + Below(tokens - 1)});
    }
    work.top = Below(3);
    work.trace = Trace();
    return work;
  }

 private:
  std::mt19937 random_;
  const int vocab_size_;
};

}  // namespace

std::vector<Specimen> RandomSpecimens(int count, unsigned seed,
                                      const testing::FakeModelOptions& model,
                                      const text::Tokenizer* tokenizer) {
  Generator generator(seed, model.vocab_size);
  Harness alone({.model = model, .tokenizer = tokenizer});
  std::vector<Specimen> specimens(count);
  for (Specimen& specimen : specimens) {
    if (generator.OneIn(4)) {
      specimen.work = generator.Score();
    } else {
      specimen.work = generator.Generate();
    }
    specimen.k = static_cast<uint32_t>(generator.Below(4));
    specimen.solo = alone.Run(alone.MakeRequest(specimen.work, specimen.k));
  }
  return specimens;
}

std::function<Flow(const Reply&)> PauseNowAndThen(Resumer* resumer, int reader) {
  return [resumer, reader](const Reply& so_far) {
    if ((so_far.tokens.size() + so_far.windows.size()) % 4 != 3) return Flow::kContinue;
    resumer->OnPause(reader);
    return Flow::kPause;
  };
}

bool IsBeginningOf(const Reply& reply, const Reply& solo) {
  const std::vector<TokenId> given = reply.token_ids();
  const std::vector<TokenId> all = solo.token_ids();
  if (given.size() > all.size() || !std::equal(given.begin(), given.end(), all.begin())) {
    return false;
  }
  if (!solo.text.starts_with(reply.text)) return false;
  return std::ranges::all_of(reply.windows, [&](const auto& entry) {
    Reply one, expected;
    one.windows.insert(entry);
    expected.windows.emplace(entry.first, solo.windows.at(entry.first));
    return Fingerprint(one) == Fingerprint(expected);
  });
}

}  // namespace olmoe::engine
