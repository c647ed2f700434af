// Throughput of the tokenizer of OLMoE-1B-7B on one thread, in bytes of text. OLMOE_SOURCE_DIR
// names the checkout, in whose tests/data the tokenizer and the texts are; what is measured on
// stories needs the whole corpus (corpus/stories.txt) there or in ../shared/data.
#include <benchmark/benchmark.h>
#include <malloc.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "glog/logging.h"
#include "server/text/tokenizer.h"
#include "tests/support/test_data.h"

namespace olmoe::text {
namespace {

const Tokenizer* LoadTokenizer() {
  static const Tokenizer* const tokenizer = []() -> const Tokenizer* {
    const std::string path = testing::DataPath("tokenizer-olmoe/tokenizer.json");
    if (path.empty()) return nullptr;
    auto loaded = Tokenizer::FromFile(path);
    CHECK(loaded.ok()) << loaded.status();
    return loaded->release();
  }();
  return tokenizer;
}

// At most `bytes` of a file of tests/data; empty where it is absent.
std::string Text(const std::string& relative, size_t bytes) {
  const std::string path = testing::DataPath(relative);
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
    state.SkipWithError("the data is absent");
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

// Texts as large as a request may be, natural and hostile: time a byte must not grow with
// the length, nor memory.
std::string LargeText(const std::string& kind, size_t bytes) {
  if (kind == "stories") return Text("corpus/stories.txt", bytes);
  std::string text;
  uint32_t random = 1;
  const auto next = [&random](uint32_t limit) {
    random = random * 1664525u + 1013904223u;
    return (random >> 8) % limit;
  };
  const auto append = [&text](char32_t c) {  // U+0800 and above
    if (c >= 0x10000) text += static_cast<char>(0xF0 | c >> 18);
    text += static_cast<char>(c >= 0x10000 ? 0x80 | (c >> 12 & 0x3F) : 0xE0 | c >> 12);
    text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (c & 0x3F));
  };
  while (text.size() < bytes) {
    if (kind == "one_letter") text += 'a';
    if (kind == "spaces") text += ' ';
    if (kind == "newlines") text += '\n';
    if (kind == "digits") text += static_cast<char>('0' + next(10));
    if (kind == "letters") text += static_cast<char>('a' + next(26));
    if (kind == "punctuation") text += "!?-=#*_./~"[next(10)];
    if (kind == "cjk") append(0x4E00 + next(0x5200));
    if (kind == "emoji") append(0x1F300 + next(0x300));
    if (kind == "decomposed") text += "e\u0301\u0323 naive re\u0301sume\u0301 ";
    if (kind == "marks") text += next(2) == 0 ? "\u0301" : "\u0323";
    if (kind == "expanding") text += "\u0344";  // is two marks
    if (kind == "one_mark") text += text.empty() ? "e\u0301" : "some words ";
    if (kind == "near_misses") text += "|||PHONE_NUMBER||";
  }
  return text;
}

// Kilobytes of a field of /proc/self/status; 0 where there is none.
int64_t StatusKilobytes(std::string_view field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field)) return std::strtoll(line.c_str() + field.size(), nullptr, 10);
  }
  return 0;
}

void BM_EncodeLarge(benchmark::State& state, const std::string& kind) {
  const Tokenizer* tokenizer = LoadTokenizer();
  const std::string text = LargeText(kind, static_cast<size_t>(state.range(0)) << 20);
  if (tokenizer == nullptr || text.empty()) {
    state.SkipWithError("the data is absent");
    return;
  }
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";  // VmHWM starts again from now
  const int64_t before = StatusKilobytes("VmRSS:");
  int64_t tokens = 0;
  for (auto _ : state) {
    tokens = 0;
    const auto count = [&tokens](Encoding&& part) {
      tokens += static_cast<int64_t>(part.ids.size());
      return absl::OkStatus();
    };
    CHECK_EQ(tokenizer->EncodeInParts(text, {.offsets = true}, count), absl::OkStatus());
  }
  const double bytes = static_cast<double>(text.size());
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
  state.counters["peak_bytes/byte"] =
      static_cast<double>(StatusKilobytes("VmHWM:") - before) * 1024 / bytes;
  state.counters["tokens/byte"] = static_cast<double>(tokens) / bytes;
}

void RegisterLarge() {
  for (const char* kind :
       {"stories", "one_letter", "spaces", "newlines", "digits", "letters", "punctuation", "cjk",
        "emoji", "decomposed", "marks", "expanding", "one_mark", "near_misses"}) {
    benchmark::RegisterBenchmark(("BM_EncodeLarge/" + std::string(kind)).c_str(),
                                 [kind](benchmark::State& state) { BM_EncodeLarge(state, kind); })
        ->ArgName("MiB")
        ->Arg(8)
        ->Arg(16)
        ->Unit(benchmark::kMillisecond);
  }
}

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
    state.SkipWithError("the data is absent");
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
    state.SkipWithError("the data is absent");
    return;
  }
  for (auto _ : state) CHECK(Tokenizer::FromJson(json).ok());
}
BENCHMARK(BM_LoadTokenizer)->Unit(benchmark::kMillisecond);

}  // namespace

void RegisterAll() { RegisterLarge(); }

}  // namespace olmoe::text

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  olmoe::text::RegisterAll();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
