#include <algorithm>
#include <cstdint>
#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"
#include "client/render/format.h"
#include "client/render/routing.h"
#include "client/render/table.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

struct HistoryOptions {
  uint32_t limit = 20;
};

void Flags(CLI::App& command, HistoryOptions& options) {
  AddNumber(command, "-n,--limit", options.limit, "List at most this many plans; 0 = all")
      ->capture_default_str();
}

// Page by page, until there are enough.
absl::StatusOr<v1::ListRoutingHistoryResponse> List(uint32_t limit, Session& session) {
  constexpr uint32_t kLargestPage = 100;
  v1::ListRoutingHistoryResponse all;
  v1::ListRoutingHistoryRequest request;
  do {
    const uint32_t missing = limit - static_cast<uint32_t>(all.records_size());
    request.set_page_size(limit == 0 ? kLargestPage : std::min(missing, kLargestPage));
    auto page = session.rpc().ListRoutingHistory(request);
    if (!page.ok()) return page.status();
    for (auto& record : *page->mutable_records()) *all.add_records() = std::move(record);
    all.set_next_page_token(page->next_page_token());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty() &&
           (limit == 0 || static_cast<uint32_t>(all.records_size()) < limit));
  return all;
}

std::string RenderHistory(const v1::ListRoutingHistoryResponse& history,
                          const render::Style& style) {
  render::Table table({{"GENERATION", render::Table::Align::kRight},
                       {"ACTIVATED"},
                       {"UNTIL"},
                       {"SOURCE"},
                       {"ACTOR"},
                       {"DIGEST"},
                       {"ROUTING"}});
  for (const v1::PlanRecord& record : history.records()) {
    const std::string& note = record.plan().note();
    table.AddRow({absl::StrCat(record.generation()),
                  record.has_activate_time() ? render::FormatTime(record.activate_time()) : "",
                  record.has_expire_time() ? render::FormatTime(record.expire_time()) : "",
                  record.source(), render::OneLine(record.actor()),
                  record.digest().substr(0, render::kShortDigest),
                  absl::StrCat(render::RenderArms(record.plan()),
                               note.empty() ? "" : absl::StrCat("  # ", render::OneLine(note)))});
  }
  return table.Render(style);
}

ExitCode Run(const HistoryOptions& options, Session& session) {
  const auto history = List(options.limit, session);
  if (!history.ok()) return session.Fail(history.status());
  if (session.options().json) return session.PrintJson(*history);
  session.out() << RenderHistory(*history, session.out_style());
  if (!history->next_page_token().empty()) session.err() << "older plans: --limit 0\n";
  return ExitCode::kOk;
}

}  // namespace

void AddHistory(CLI::App& app, ChosenCommand& chosen) {
  AddCommand<HistoryOptions>(app, chosen, "history", "List the plans so far, newest first", Flags,
                             Run);
}

}  // namespace olmoe::client::commands
