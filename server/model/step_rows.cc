#include "server/model/step_rows.h"

#include "glog/logging.h"

namespace olmoe::model {
namespace {

int RowsOf(const Chunk& chunk) { return static_cast<int>(chunk.tokens.size()); }

void CheckPages(const Chunk& chunk, const StepLimits& limits) {
  const int end = chunk.first_position + RowsOf(chunk);
  CHECK_GE(chunk.first_position, 0);
  CHECK_LE(end, limits.max_context);
  CHECK_GE(static_cast<int>(chunk.pages.size()) * limits.page_tokens, end)
      << "pages do not cover the chunk";
  for (const PageId page : chunk.pages) {
    CHECK(page >= 0 && page < limits.num_pages) << "page " << page << " of " << limits.num_pages;
  }
}

void CheckTokens(const Chunk& chunk, const StepLimits& limits) {
  CHECK(!chunk.tokens.empty()) << "chunk without rows";
  for (const TokenId token : chunk.tokens) {
    CHECK(token >= 0 && token < limits.vocab_size) << "token " << token;
  }
}

void CheckChunk(const Chunk& chunk, const StepLimits& limits) {
  CheckTokens(chunk, limits);
  CheckPages(chunk, limits);
  CHECK(chunk.policy != nullptr) << "chunk without a policy";
  CHECK(chunk.policy->shape() == limits.router) << "the policy is of another model";
  if (chunk.replay != nullptr) {
    CHECK_EQ(chunk.replay->num_layers(), static_cast<uint64_t>(limits.router.num_layers));
  }
  if (chunk.score.has_value()) CHECK_EQ(chunk.score->targets.size(), chunk.tokens.size());
}

}  // namespace

ops::RowBatch BuildRows(const StepBatch& step, const StepLimits& limits) {
  for (const auto& [from, to] : step.page_copies) {
    CHECK(from >= 0 && from < limits.num_pages) << "page " << from << " of " << limits.num_pages;
    CHECK(to >= 0 && to < limits.num_pages && to != from) << "page " << to;
  }
  ops::RowBatch rows;
  for (const Chunk& chunk : step.chunks) {
    CheckChunk(chunk, limits);
    rows.sequences.push_back({rows.num_rows(), RowsOf(chunk), chunk.first_position, chunk.pages});
    rows.tokens.insert(rows.tokens.end(), chunk.tokens.begin(), chunk.tokens.end());
    for (int i = 0; i < RowsOf(chunk); ++i) rows.positions.push_back(chunk.first_position + i);
  }
  CHECK_LE(rows.num_rows(), limits.max_rows);
  return rows;
}

void PrepareOutput(const StepBatch& step, int num_layers, StepOutput* output) {
  output->chunks.resize(step.chunks.size());
  int num_rows = 0;
  for (size_t i = 0; i < step.chunks.size(); ++i) {
    const Chunk& chunk = step.chunks[i];
    ChunkOutput& result = output->chunks[i];
    result.status = absl::OkStatus();
    result.sampled.reset();
    result.scored.clear();
    result.router_logits.clear();
    result.last_logits.clear();
    num_rows += RowsOf(chunk);
    if (!chunk.score.has_value()) continue;
    for (int row = 0; row < RowsOf(chunk); ++row) {
      if (chunk.score->targets[static_cast<size_t>(row)] == kNoTarget) continue;
      ScoredRow scored;
      scored.row = row;
      result.scored.push_back(std::move(scored));
    }
  }
  output->routing.Reset(num_layers, num_rows);
}

std::vector<LogitRow> CollectLogitRows(const StepBatch& step, const StepOutput& output) {
  std::vector<LogitRow> rows;
  int first_row = 0;
  for (size_t i = 0; i < step.chunks.size(); ++i) {
    const Chunk& chunk = step.chunks[i];
    const bool ok = output.chunks[i].status.ok();
    int scored = 0;
    for (int row = 0; row < RowsOf(chunk) && ok; ++row) {
      LogitRow wanted{.row = first_row + row, .chunk = i};
      const bool last = row == RowsOf(chunk) - 1;
      wanted.sample = chunk.sample.has_value() && last;
      wanted.keep = chunk.last_logits && last;
      const bool has_target =
          chunk.score.has_value() && chunk.score->targets[static_cast<size_t>(row)] != kNoTarget;
      if (has_target) wanted.scored = scored++;
      if (wanted.sample || wanted.keep || has_target) rows.push_back(wanted);
    }
    first_row += RowsOf(chunk);
  }
  return rows;
}

}  // namespace olmoe::model
