#include "client/commands/completion_printer.h"

#include <algorithm>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/render/format.h"
#include "client/render/routing.h"

namespace olmoe::client::commands {
namespace {

// The last line, on stderr: what made the text, and how fast.
std::string Summary(const v1::GenerateResponse& done, uint32_t num_layers) {
  const v1::Usage& usage = done.usage();
  const double decode = render::ToSeconds(done.timing().decode());
  std::string line = absl::StrCat("[", render::DescribeStamp(done.routing()), " | ",
                                  usage.completion_tokens(), " tokens");
  if (decode > 0 && usage.completion_tokens() > 1) {
    absl::StrAppend(&line, ", ", render::FormatFixed((usage.completion_tokens() - 1) / decode, 1),
                    " tok/s");
  }
  absl::StrAppend(&line, ", first after ",
                  render::FormatDuration(done.timing().time_to_first_token()));
  // Those in the cache too: the numbers do not depend on what was there.
  const double rows = static_cast<double>(usage.routed_tokens()) + usage.cached_prompt_tokens();
  if (num_layers > 0 && rows > 0) {
    const double experts =
        static_cast<double>(usage.expert_activations() + usage.cached_expert_activations()) / rows /
        num_layers;
    absl::StrAppend(&line, " | ", render::FormatFixed(experts, 2), " experts per token and layer");
  }
  return absl::StrCat(line, " | seed ", done.seed(), "]");
}

// Number of layers, or 0 where the server does not say: the summary leaves it out.
uint32_t NumLayers(Session& session) {
  const auto info = session.rpc().GetModelInfo({});
  return info.ok() ? info->num_layers() : 0;
}

render::Table PromptTable() {
  using enum render::Table::Align;
  return render::Table(
      {{"PROMPT TOKEN", kRight}, {"LOGPROB", kRight}, {"RANK", kRight}, {"ALTERNATIVES"}});
}

std::string Alternatives(const google::protobuf::RepeatedPtrField<v1::TokenLogprob>& top) {
  return absl::StrJoin(top, "  ", [](std::string* out, const v1::TokenLogprob& other) {
    absl::StrAppend(out, other.token_id(), " ", render::FormatFixed(other.logprob(), 3));
  });
}

}  // namespace

CompletionPrinter::Choice::Choice()
    : tokens({{"TOKEN", render::Table::Align::kRight},
              {"PIECE"},
              {"LOGPROB", render::Table::Align::kRight},
              {"ALTERNATIVES"}}) {}

CompletionPrinter::CompletionPrinter(Session& session, const v1::GenerateRequest& request)
    : session_(session),
      max_tokens_(uint64_t{request.max_new_tokens()} * std::max(request.n(), 1u)),
      progress_(session.err(), session.err_is_terminal() && !session.out_is_terminal()),
      prompt_tokens_(PromptTable()) {
  choices_.try_emplace(0);
}

bool CompletionPrinter::OnEvent(const v1::GenerateStreamResponse& event) {
  if (event.has_done()) done_ = event.done();
  if (!event.has_delta()) return true;
  const v1::GenerateDelta& delta = event.delta();
  for (const v1::ScoredToken& token : delta.prompt_tokens()) {
    prompt_tokens_.AddRow({absl::StrCat(token.token_id()), render::FormatFixed(token.logprob(), 4),
                           absl::StrCat(token.rank()), Alternatives(token.top())});
  }
  Choice& choice = choices_[delta.choice()];
  choice.ids.MergeFrom(delta.token_ids());
  choice.has_text = choice.has_text || !delta.text().empty();
  for (const v1::GeneratedToken& token : delta.tokens()) {
    choice.tokens.AddRow({absl::StrCat(token.token_id()), render::Quote(token.piece()),
                          render::FormatFixed(token.logprob(), 4), Alternatives(token.top())});
  }
  num_tokens_ += delta.token_ids_size();
  progress_.Show(absl::StrCat(num_tokens_, " of at most ", max_tokens_, " tokens"));
  if (delta.choice() == 0) {
    Print(delta.text());
  } else {
    choice.text += delta.text();
  }
  return session_.out().good();
}

void CompletionPrinter::Abandon() {
  progress_.Clear();
  if (choices_.at(0).has_text) session_.out() << std::endl;
}

void CompletionPrinter::Finish() {
  progress_.Clear();
  for (const auto& [number, choice] : choices_) {
    if (number > 0) {
      session_.out() << session_.out_style().Dim(absl::StrCat("[", number + 1, "]")) << '\n';
    }
    Print(choice.has_text ? choice.text : absl::StrJoin(choice.ids, ","));
    session_.out() << '\n';
    if (!choice.tokens.empty()) session_.out() << choice.tokens.Render(session_.out_style());
  }
  if (!prompt_tokens_.empty()) session_.out() << prompt_tokens_.Render(session_.out_style());
  session_.out().flush();
  session_.err() << session_.err_style().Dim(Summary(done_, NumLayers(session_))) << '\n';
}

void CompletionPrinter::Print(const std::string& text) {
  session_.out() << (session_.out_is_terminal() ? render::ForTerminal(text) : text) << std::flush;
}

}  // namespace olmoe::client::commands
