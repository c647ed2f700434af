#ifndef OLMOE_CLIENT_EVAL_REPORT_H_
#define OLMOE_CLIENT_EVAL_REPORT_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "client/eval/bootstrap.h"
#include "client/eval/dataset.h"
#include "client/eval/result.h"
#include "client/eval/runner.h"
#include "client/render/style.h"
#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::eval {

// One data set under one policy. The difference is that of mean loss (texts) or of
// accuracy (questions) to the first policy.
struct ReportRow {
  std::string data, policy, routing, digest;
  bool is_choice = false;
  UnitResult sum;
  ExpertCounts experts;  // empty unless they were counted
  std::optional<Difference> difference;  // unset for the first policy
  std::optional<bool> pareto;  // no other row has a smaller loss for as few activations; of a sweep
};

// `first`, `other`: of the same units.
ReportRow MakeRow(const Dataset& dataset, const Subject& subject, std::span<const UnitResult> first,
                  PassResult other, bool is_first, uint64_t seed);

struct Report {
  v1::GetModelInfoResponse model;
  Cutting cutting;
  uint64_t seed = 0;
  std::vector<ReportRow> rows;
};

// Texts and questions in tables of their own, with columns for what only some policies have where
// one of them has it.
std::string RenderTable(const Report& report, const render::Style& style);
std::string RenderMarkdown(const Report& report);
// With a line of titles; unrounded numbers; empty where a number does not apply.
std::string RenderCsv(const Report& report);
std::string RenderJson(const Report& report, bool indent);

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_REPORT_H_
