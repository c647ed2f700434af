#include "tests/support/fake_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace olmoe::testing {
namespace {

// splitmix64 of the sum: every bit of both arguments reaches every bit of the result.
uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t x = a + 0x9e3779b97f4a7c15u * (b + 1);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

double Uniform(uint64_t hash) { return static_cast<double>(hash >> 11) * 0x1.0p-53; }

float LogitFrom(uint64_t hash) { return static_cast<float>(8 * Uniform(hash) - 4); }

// Ids by logit descending, then id ascending.
std::vector<TokenId> Ranked(const std::vector<float>& logits) {
  std::vector<TokenId> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::ranges::stable_sort(ids, [&](TokenId a, TokenId b) { return logits[a] > logits[b]; });
  return ids;
}

double LogSumExp(const std::vector<float>& logits) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

float Logprob(const std::vector<float>& logits, TokenId token) {
  return static_cast<float>(logits.at(token) - LogSumExp(logits));
}

std::vector<model::TokenLogprob> Top(const std::vector<float>& logits, int top) {
  std::vector<model::TokenLogprob> result;
  if (top == 0) return result;
  for (TokenId token : Ranked(logits)) {
    if (static_cast<int>(result.size()) == top) break;
    result.push_back({token, Logprob(logits, token)});
  }
  return result;
}

void Penalize(const model::SampleRequest& request, std::vector<float>* logits) {
  const auto penalty = static_cast<float>(request.params.repetition_penalty);
  for (TokenId seen : std::set<TokenId>(request.history.begin(), request.history.end())) {
    float& logit = logits->at(seen);
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
}

// Penalty, temperature, top-k, top-p, min-p, in this order, then one uniform draw.
TokenId Sample(std::vector<float> logits, const model::SampleRequest& request) {
  const model::SamplingParams& params = request.params;
  if (params.repetition_penalty != 1) Penalize(request, &logits);
  if (params.temperature == 0) {
    return static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
  }
  const std::vector<TokenId> ranked = Ranked(logits);
  const double largest = logits[ranked.front()];
  std::vector<double> weights;  // [candidates], descending, the first is 1
  for (TokenId token : ranked) {
    if (params.top_k > 0 && static_cast<int>(weights.size()) == params.top_k) break;
    weights.push_back(std::exp((logits[token] - largest) / params.temperature));
  }
  const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
  double kept = 0;
  size_t candidates = 0;
  while (candidates < weights.size() && weights[candidates] >= params.min_p &&
         (candidates == 0 || kept < params.top_p * all)) {
    kept += weights[candidates++];
  }
  double draw = Uniform(Mix(params.seed, static_cast<uint64_t>(request.position))) * kept;
  for (size_t i = 0; i + 1 < candidates; ++i) {
    if ((draw -= weights[i]) < 0) return ranked[i];
  }
  return ranked[candidates - 1];
}

model::ScoredRow Score(const std::vector<float>& logits, int row, TokenId target, int top) {
  const auto above =
      std::ranges::count_if(logits, [&](float logit) { return logit > logits.at(target); });
  return {.row = row,
          .logprob = Logprob(logits, target),
          .rank = static_cast<uint32_t>(above) + 1,
          .top = Top(logits, top)};
}

}  // namespace

FakeModel::FakeModel(FakeModelOptions options)
    : options_(std::move(options)),
      kv_(static_cast<size_t>(options_.num_pages) * options_.page_tokens),
      num_allowed_(std::numeric_limits<int64_t>::max()) {
  info_.model_id = "fake";
  info_.weights_digest = "fake";
  info_.num_layers = options_.num_layers;
  info_.num_experts = options_.num_experts;
  info_.default_top_k = options_.default_k;
  info_.hidden_size = 1;
  info_.vocab_size = options_.vocab_size;
  info_.max_context = options_.max_context;
  info_.eos_token_id = options_.eos_token_id;
  if (options_.eos_token_id.has_value()) info_.end_token_ids = {*options_.eos_token_id};
  info_.device = "cpu";
  info_.dtype = "float32";
  kv_shape_ = {.page_tokens = options_.page_tokens,
               .num_pages = options_.num_pages,
               .page_bytes = int64_t{1024} * options_.page_tokens};
}

void FakeModel::Hold() {
  absl::MutexLock lock(&mu_);
  num_allowed_ = counters_.steps;
}

void FakeModel::Allow(int num_steps) {
  absl::MutexLock lock(&mu_);
  num_allowed_ += num_steps;
}

void FakeModel::Unhold() {
  absl::MutexLock lock(&mu_);
  num_allowed_ = std::numeric_limits<int64_t>::max();
}

void FakeModel::AwaitStepBegun(int step) {
  absl::MutexLock lock(&mu_);
  const auto begun = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return counters_.steps >= step; };
  mu_.Await(absl::Condition(&begun));
}

void FakeModel::FailStep(int step, absl::Status status) {
  CHECK(!status.ok());
  absl::MutexLock lock(&mu_);
  failures_[step] = std::move(status);
}

FakeModel::Counters FakeModel::counters() const {
  absl::MutexLock lock(&mu_);
  return counters_;
}

std::vector<std::vector<int>> FakeModel::chunk_rows() const {
  absl::MutexLock lock(&mu_);
  return chunk_rows_;
}

absl::Status FakeModel::Step(const model::StepBatch& batch, model::StepOutput* output) {
  CHECK(!stepping_.exchange(true)) << "two steps at once";
  CHECK(!batch.chunks.empty());
  CheckPages(batch);
  absl::Status status = BeginStep(batch);
  if (status.ok()) {
    for (const auto& [from, to] : batch.page_copies) {
      std::copy_n(kv_.begin() + from * options_.page_tokens, options_.page_tokens,
                  kv_.begin() + to * options_.page_tokens);
    }
    std::vector<std::vector<RowState>> rows;  // [chunks][rows]
    for (const model::Chunk& chunk : batch.chunks) rows.push_back(WriteKv(chunk));
    output->chunks.assign(batch.chunks.size(), {});
    Route(batch, rows, output);
    for (size_t i = 0; i < batch.chunks.size(); ++i) {
      if (output->chunks[i].status.ok()) Head(batch.chunks[i], rows[i], &output->chunks[i]);
    }
  }
  CHECK(stepping_.exchange(false));
  return status;
}

absl::Status FakeModel::BeginStep(const model::StepBatch& batch) {
  std::vector<int> chunk_rows;
  for (const model::Chunk& chunk : batch.chunks) {
    chunk_rows.push_back(static_cast<int>(chunk.tokens.size()));
  }
  const int rows = std::accumulate(chunk_rows.begin(), chunk_rows.end(), 0);
  absl::MutexLock lock(&mu_);
  const int step = ++counters_.steps;
  counters_.rows += rows;
  counters_.max_rows = std::max(counters_.max_rows, rows);
  counters_.max_chunks = std::max(counters_.max_chunks, static_cast<int>(chunk_rows.size()));
  chunk_rows_.push_back(std::move(chunk_rows));
  const auto allowed = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return num_allowed_ >= step; };
  mu_.Await(absl::Condition(&allowed));
  const auto failure = failures_.find(step);
  return failure == failures_.end() ? absl::OkStatus() : failure->second;
}

void FakeModel::CheckPages(const model::StepBatch& batch) {
  for (const auto& [from, to] : batch.page_copies) {
    CHECK(from >= 0 && from < options_.num_pages) << "page " << from;
    CHECK(to >= 0 && to < options_.num_pages && to != from) << "page " << to;
  }
  // How many sequences read a page, and whether one writes it.
  std::vector<int> readers(options_.num_pages, 0);
  std::vector<bool> written(options_.num_pages, false);
  for (const model::Chunk& chunk : batch.chunks) {
    CHECK(chunk.policy != nullptr);
    CHECK(chunk.policy->shape() == info_.router_shape());
    CHECK(!chunk.tokens.empty());
    const size_t positions = chunk.first_position + chunk.tokens.size();
    CHECK_LE(positions, static_cast<size_t>(options_.max_context));
    CHECK_LE(positions, chunk.pages.size() * options_.page_tokens) << "too few pages";
    const int first_written = chunk.first_position / options_.page_tokens;
    for (int i = 0; i < static_cast<int>(chunk.pages.size()); ++i) {
      const model::PageId page = chunk.pages[i];
      CHECK(page >= 0 && page < options_.num_pages) << "page " << page;
      ++readers[page];
      if (i >= first_written) written[page] = true;
    }
  }
  for (int page = 0; page < options_.num_pages; ++page) {
    CHECK(readers[page] <= 1 || !written[page]) << "page " << page << " belongs to two sequences";
  }
}

FakeModel::Link& FakeModel::KvAt(const model::Chunk& chunk, int position) {
  const model::PageId page = chunk.pages[position / options_.page_tokens];
  return kv_[static_cast<size_t>(page) * options_.page_tokens + position % options_.page_tokens];
}

std::vector<FakeModel::RowState> FakeModel::WriteKv(const model::Chunk& chunk) {
  std::vector<RowState> rows;
  for (size_t row = 0; row < chunk.tokens.size(); ++row) {
    const int position = chunk.first_position + static_cast<int>(row);
    const TokenId token = chunk.tokens[row];
    CHECK(token >= 0 && token < options_.vocab_size) << "token " << token;
    uint64_t input = 0;
    if (position > 0) {
      const Link& before = KvAt(chunk, position - 1);
      CHECK_EQ(before.position, position - 1) << "the chunk does not continue its pages";
      input = before.hash;
    }
    for (int64_t part : {position, token}) input = Mix(input, static_cast<uint64_t>(part));
    rows.push_back({input, MixApplied(chunk, static_cast<int>(row), input, token)});
    KvAt(chunk, position) = {position, rows.back().link};
  }
  return rows;
}

uint64_t FakeModel::MixApplied(const model::Chunk& chunk, int row, uint64_t input,
                               TokenId token) const {
  uint64_t hash = input;
  for (int layer = 0; layer < options_.num_layers; ++layer) {
    routing::RowRouting routed;
    const std::vector<float> logits = RouterLogits(chunk, input, token, layer);
    if (chunk.Route(row, layer, logits, &routed) != routing::RouteError::kNone) continue;
    for (size_t i = 0; i < routed.applied.k; ++i) {
      hash = Mix(hash, routed.experts[i]);
      hash = Mix(hash, std::bit_cast<uint32_t>(routed.weights[i]));
    }
  }
  return hash;
}

absl::StatusOr<std::shared_ptr<const routing::PreparedRouter>> FakeModel::PrepareRouter(
    const std::map<int, routing::RouterWeights>&) const {
  return std::make_shared<const routing::PreparedRouter>();
}

absl::StatusOr<routing::RouterWeights> FakeModel::OwnRouter(int layer) const {
  std::vector<float> values(static_cast<size_t>(options_.num_experts));
  std::iota(values.begin(), values.end(), static_cast<float>(layer));
  return routing::RouterWeights(values);
}

std::vector<float> FakeModel::RouterLogits(const model::Chunk& chunk, uint64_t input, TokenId token,
                                           int layer) const {
  const routing::Router* router = chunk.policy->router();
  if (router != nullptr && router->has_layer(layer)) {
    for (const char digit : router->digest()) input = Mix(input, static_cast<uint64_t>(digit));
  }
  std::vector<float> logits(options_.num_experts);
  for (int expert = 0; expert < options_.num_experts; ++expert) {
    logits[expert] = LogitFrom(Mix(Mix(input, 1000 + layer), expert));
  }
  if (token == options_.nan_token && layer == options_.num_layers - 1) {
    logits.back() = std::numeric_limits<float>::quiet_NaN();
  }
  return logits;
}

void FakeModel::Route(const model::StepBatch& batch, const std::vector<std::vector<RowState>>& rows,
                      model::StepOutput* output) const {
  size_t num_rows = 0;
  for (const model::Chunk& chunk : batch.chunks) num_rows += chunk.tokens.size();
  output->routing.Reset(options_.num_layers, static_cast<int>(num_rows));
  for (int layer = 0; layer < options_.num_layers; ++layer) {
    for (size_t i = 0; i < batch.chunks.size(); ++i) {
      const model::Chunk& chunk = batch.chunks[i];
      model::ChunkOutput& chunk_output = output->chunks[i];
      for (size_t row = 0; row < chunk.tokens.size(); ++row) {
        const std::vector<float> logits =
            RouterLogits(chunk, rows[i][row].input, chunk.tokens[row], layer);
        routing::RowRouting routed;
        const routing::RouteError error =
            chunk.Route(static_cast<int>(row), layer, logits, &routed);
        if (error == routing::RouteError::kNone) {
          output->routing.Add(routed);
        } else {
          output->routing.AddFailed();
          chunk_output.status = absl::InternalError(
              absl::StrCat("router logits of layer ", layer, " are not finite"));
        }
        if (!chunk.router_logits) continue;
        chunk_output.router_logits.insert(chunk_output.router_logits.end(), logits.begin(),
                                          logits.end());
      }
    }
  }
}

void FakeModel::Head(const model::Chunk& chunk, std::span<const RowState> rows,
                     model::ChunkOutput* output) const {
  if (chunk.score.has_value()) {
    CHECK_EQ(chunk.score->targets.size(), chunk.tokens.size());
    for (size_t row = 0; row < rows.size(); ++row) {
      const TokenId target = chunk.score->targets[row];
      if (target == model::kNoTarget) continue;
      output->scored.push_back(
          Score(Logits(rows[row].link), static_cast<int>(row), target, chunk.score->top));
    }
  }
  if (chunk.last_logits) output->last_logits = Logits(rows.back().link);
  if (chunk.sample.has_value()) {
    const model::SampleRequest& sample = *chunk.sample;
    CHECK_EQ(static_cast<size_t>(sample.position), chunk.first_position + chunk.tokens.size());
    CHECK_EQ(static_cast<size_t>(sample.position), sample.history.size());
    const std::vector<float> logits = Logits(rows.back().link);
    const auto scripted = options_.script.find(sample.position);
    const TokenId token =
        scripted == options_.script.end() ? Sample(logits, sample) : scripted->second;
    output->sampled = {.token = token, .top = Top(logits, sample.top)};
    if (sample.logprob) output->sampled->logprob = Logprob(logits, token);
  }
}

std::vector<float> FakeModel::Logits(uint64_t link) const {
  std::vector<float> logits(options_.vocab_size);
  for (int token = 0; token < options_.vocab_size; ++token) {
    logits[token] = LogitFrom(Mix(link, static_cast<uint64_t>(token)));
  }
  return logits;
}

}  // namespace olmoe::testing
