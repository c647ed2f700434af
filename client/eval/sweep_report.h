// What `olmoectl sweep` prints beside the rows of an evaluation.
#ifndef OLMOE_CLIENT_EVAL_SWEEP_REPORT_H_
#define OLMOE_CLIENT_EVAL_SWEEP_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/eval/report.h"
#include "client/render/style.h"

namespace olmoe::client::eval {

// The loss with one layer at another k, and all others as the model has them.
struct Sensitivity {
  std::vector<uint32_t> ks;                 // ascending
  std::vector<std::vector<double>> losses;  // [layer][k], nats
};

// A plan whose experts, summed over the layers, are a budget.
struct BudgetReport {
  uint64_t budget = 0;
  std::vector<uint32_t> ks;  // [layers]
  std::string policy;        // as --policy takes it
  double predicted = 0;      // loss, if the increases of single layers add up
  double measured = 0;       // loss of the plan
  // The same k in every layer, where the budget allows that.
  std::optional<uint32_t> plain_k;
  double plain = 0;  // its loss
};

// The rows are of one data set, the first is the model's own routing.
struct SweepReport {
  Report report;
  std::optional<Sensitivity> sensitivity;
  std::optional<BudgetReport> budget;
};

// Sorts the rows behind the first by their costs, and tells which are on the Pareto front.
void FindFront(Report* report);

std::string RenderTable(const SweepReport& report, const render::Style& style);
std::string RenderMarkdown(const SweepReport& report);
std::string RenderJson(const SweepReport& report, bool indent);

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_SWEEP_REPORT_H_
