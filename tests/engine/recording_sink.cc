#include "tests/engine/recording_sink.h"

#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/util/sha256.h"

namespace olmoe::engine {
namespace {

template <typename T>
std::string Hash(const std::vector<T>& values) {
  return Sha256Hex({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)})
      .substr(0, 12);
}

std::string Fingerprint(const std::vector<model::TokenLogprob>& top) {
  std::string line;
  for (const auto& [token, logprob] : top) absl::StrAppend(&line, " ", token, "=", logprob);
  return line;
}

std::string Fingerprint(const RoutingTrace& trace) {
  return absl::StrCat("trace ", trace.first_position, "+", trace.num_positions, "x",
                      trace.num_layers, " ", Hash(trace.counts), " ", Hash(trace.experts), " ",
                      Hash(trace.weights), " ", Hash(trace.logits), "; ");
}

std::string Fingerprint(const Choice& choice, const ChoiceEnd& end) {
  std::string line = absl::StrCat(static_cast<int>(end.finish_reason), " '", end.matched_stop, "' ",
                                  end.completion_tokens, " text '", choice.text, "'; ");
  for (const GeneratedToken& token : choice.tokens) {
    absl::StrAppend(&line, token.token, " ", token.logprob.value_or(1), Fingerprint(token.top),
                    "; ");
  }
  for (const ScoredToken& token : choice.prompt_tokens) {
    absl::StrAppend(&line, token.token, " ", token.logprob, " ", token.rank, Fingerprint(token.top),
                    "; ");
  }
  return line + Fingerprint(choice.trace);
}

}  // namespace

std::vector<TokenId> Choice::token_ids() const {
  std::vector<TokenId> ids;
  for (const GeneratedToken& token : tokens) ids.push_back(token.token);
  return ids;
}

std::string Fingerprint(const Reply& reply) {
  const Completion& completion = reply.completion;
  std::string line =
      absl::StrCat(completion.status.ToString(), " ", completion.prompt_tokens, "+",
                   completion.completion_tokens, " ",
                   completion.expert_activations + completion.cached_expert_activations +
                       completion.shared_expert_activations,
                   "; ");
  for (size_t i = 0; i < completion.choices.size(); ++i) {
    const auto other = reply.others.find(static_cast<int>(i));
    const Choice& choice = other == reply.others.end() ? reply : other->second;
    absl::StrAppend(&line, Fingerprint(choice, completion.choices[i]));
  }
  for (const auto& [index, window] : reply.windows) {
    absl::StrAppend(&line, "window ", index, ": ", Fingerprint(window.trace),
                    Hash(window.last_logits), "; ");
    for (const ScoredToken& token : window.tokens) {
      absl::StrAppend(&line, token.token, " ", token.logprob, " #", token.rank,
                      Fingerprint(token.top), "; ");
    }
  }
  return line;
}

Flow RecordingSink::OnTokens(GenerateDelta delta) {
  absl::MutexLock lock(&mu_);
  EXPECT_FALSE(reply_.done);
  EXPECT_FALSE(delta.tokens.empty() && delta.text.empty() && delta.trace.num_positions == 0 &&
               delta.prompt_tokens.empty() && !delta.end.has_value());
  Choice& choice = delta.choice == 0 ? reply_ : reply_.others[delta.choice];
  EXPECT_FALSE(choice.ended);
  choice.ended = delta.end.has_value();
  choice.text += delta.text;
  for (GeneratedToken& token : delta.tokens) choice.tokens.push_back(std::move(token));
  for (ScoredToken& token : delta.prompt_tokens) choice.prompt_tokens.push_back(std::move(token));
  choice.trace.Append(std::move(delta.trace));
  return flow == nullptr ? Flow::kContinue : flow(reply_);
}

Flow RecordingSink::OnScores(WindowScores scores) {
  absl::MutexLock lock(&mu_);
  EXPECT_FALSE(reply_.done);
  const int index = scores.window;
  EXPECT_TRUE(reply_.windows.emplace(index, std::move(scores)).second) << "window " << index;
  return flow == nullptr ? Flow::kContinue : flow(reply_);
}

void RecordingSink::OnDone(const Completion& completion) {
  if (on_done != nullptr) on_done();
  absl::MutexLock lock(&mu_);
  EXPECT_FALSE(reply_.done);
  reply_.completion = completion;
  reply_.done = true;
}

void RecordingSink::AwaitTokens(int num_tokens) {
  absl::MutexLock lock(&mu_);
  const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return static_cast<int>(reply_.tokens.size()) >= num_tokens;
  };
  mu_.Await(absl::Condition(&enough));
}

Reply RecordingSink::AwaitDone() {
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(&reply_.done));
  return reply_;
}

Reply RecordingSink::so_far() const {
  absl::MutexLock lock(&mu_);
  return reply_;
}

absl::StatusOr<RequestHandle> SubmitTo(Engine* engine, Request request,
                                       std::shared_ptr<RecordingSink> sink) {
  Sink of_kind = std::shared_ptr<GenerateSink>(sink);
  if (std::holds_alternative<ScoreWork>(request.work)) {
    of_kind = std::shared_ptr<ScoreSink>(std::move(sink));
  }
  return engine->Submit(std::move(request), std::move(of_kind));
}

}  // namespace olmoe::engine
