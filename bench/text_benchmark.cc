// Throughput of the tokenizer of OLMoE-1B-7B on one thread, in bytes of text. Needs
// ../shared/data beside the checkout (OLMOE_SOURCE_DIR says where that is).
#include <benchmark/benchmark.h>

#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "glog/logging.h"
#include "server/text/tokenizer.h"
#include "tests/support/test_data.h"

namespace olmoe::text {
namespace {

const Tokenizer* LoadTokenizer() {
  static const Tokenizer* const tokenizer = []() -> const Tokenizer* {
    const std::string path = testing::SharedPath("tokenizer-olmoe/tokenizer.json");
    if (path.empty()) return nullptr;
    auto loaded = Tokenizer::FromFile(path);
    CHECK(loaded.ok()) << loaded.status();
    return loaded->release();
  }();
  return tokenizer;
}

// At most `bytes` of a file of ../shared/data; empty where it is absent.
std::string Text(const std::string& relative, size_t bytes) {
  const std::string path = testing::SharedPath(relative);
  return path.empty() ? "" : testing::ReadFileOrDie(path).substr(0, bytes);
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// Encodes each text once an iteration.
void EncodeAll(benchmark::State& state, const std::vector<std::string>& texts, bool offsets) {
  const Tokenizer* tokenizer = LoadTokenizer();
  if (tokenizer == nullptr || texts.empty() || texts[0].empty()) {
    state.SkipWithError("../shared/data is absent");
    return;
  }
  int64_t bytes = 0;
  int64_t tokens = 0;
  for (auto _ : state) {
    for (const std::string& text : texts) {
      const auto encoding = tokenizer->Encode(text, {.offsets = offsets});
      CHECK(encoding.ok()) << encoding.status();
      bytes += static_cast<int64_t>(text.size());
      tokens += static_cast<int64_t>(encoding->ids.size());
    }
  }
  state.SetBytesProcessed(bytes);
  state.SetItemsProcessed(tokens);
}

void BM_EncodeWikiPassages(benchmark::State& state) {
  EncodeAll(state, Lines(Text("eval/wiki_passages.txt", SIZE_MAX)), state.range(0) != 0);
}
BENCHMARK(BM_EncodeWikiPassages)->ArgName("offsets")->Arg(0)->Arg(1);

void BM_EncodeStories(benchmark::State& state) {
  EncodeAll(state, {Text("corpus/stories.txt", 4 << 20)}, state.range(0) != 0);
}
BENCHMARK(BM_EncodeStories)->ArgName("offsets")->Arg(0)->Arg(1);

// Languages that the vocabulary knows little of: words are merged, not looked up.
void BM_EncodeTokenizerCases(benchmark::State& state) {
  EncodeAll(state, Lines(Text("golden/tokenizer/cases.jsonl", SIZE_MAX)), state.range(0) != 0);
}
BENCHMARK(BM_EncodeTokenizerCases)->ArgName("offsets")->Arg(0);

// Adversarial: nothing to split at. Time a byte must not grow with the length.
void BM_EncodeOneWord(benchmark::State& state) {
  std::string word(static_cast<size_t>(state.range(0)), 'a');
  EncodeAll(state, {word}, false);
}
BENCHMARK(BM_EncodeOneWord)->Arg(1 << 10)->Arg(1 << 16)->Arg(10 << 20);

void BM_EncodeRandomLetters(benchmark::State& state) {
  std::string word;
  for (uint32_t seed = 1; word.size() < static_cast<size_t>(state.range(0));) {
    seed = seed * 1664525u + 1013904223u;
    word += static_cast<char>('a' + (seed >> 24) % 26);
  }
  EncodeAll(state, {word}, false);
}
BENCHMARK(BM_EncodeRandomLetters)->Arg(1 << 10)->Arg(1 << 16)->Arg(10 << 20);

// Every other character is a mark to be composed or reordered.
void BM_EncodeDecomposed(benchmark::State& state) {
  std::string text;
  for (int i = 0; i < 20000; ++i) text += "e\u0301\u0323 naive re\u0301sume\u0301 ";
  EncodeAll(state, {text}, state.range(0) != 0);
}
BENCHMARK(BM_EncodeDecomposed)->ArgName("offsets")->Arg(0);

void BM_StreamingDetokenizer(benchmark::State& state) {
  const Tokenizer* tokenizer = LoadTokenizer();
  const std::string text = Text("eval/wiki_passages.txt", SIZE_MAX);
  if (tokenizer == nullptr || text.empty()) {
    state.SkipWithError("../shared/data is absent");
    return;
  }
  const auto encoding = tokenizer->Encode(text);
  CHECK(encoding.ok()) << encoding.status();
  for (auto _ : state) {
    StreamingDetokenizer detokenizer(tokenizer, /*skip_special_tokens=*/true);
    for (const TokenId id : encoding->ids) benchmark::DoNotOptimize(detokenizer.Add(id));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(encoding->ids.size()));
}
BENCHMARK(BM_StreamingDetokenizer);

void BM_LoadTokenizer(benchmark::State& state) {
  const std::string json = Text("tokenizer-olmoe/tokenizer.json", SIZE_MAX);
  if (json.empty()) {
    state.SkipWithError("../shared/data is absent");
    return;
  }
  for (auto _ : state) CHECK(Tokenizer::FromJson(json).ok());
}
BENCHMARK(BM_LoadTokenizer)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace olmoe::text

BENCHMARK_MAIN();
