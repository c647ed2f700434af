#include "server/routing/expression.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "muParser.h"
#include "server/routing/expression_grammar.h"

namespace olmoe::routing {
namespace {

struct Variable {
  const char* name;
  double ExpressionVariables::* member;
};

constexpr Variable kPValue = {"pvalue", &ExpressionVariables::pvalue};
constexpr std::array kVariables = {
    Variable{"z", &ExpressionVariables::z},
    Variable{"s", &ExpressionVariables::s},
    Variable{"p", &ExpressionVariables::p},
    Variable{"p1", &ExpressionVariables::p1},
    Variable{"p2", &ExpressionVariables::p2},
    Variable{"p3", &ExpressionVariables::p3},
    Variable{"p4", &ExpressionVariables::p4},
    Variable{"p5", &ExpressionVariables::p5},
    Variable{"p6", &ExpressionVariables::p6},
    Variable{"p7", &ExpressionVariables::p7},
    Variable{"p8", &ExpressionVariables::p8},
    Variable{"rank", &ExpressionVariables::rank},
    Variable{"before", &ExpressionVariables::before},
    Variable{"entropy", &ExpressionVariables::entropy},
    Variable{"expert", &ExpressionVariables::expert},
    Variable{"E", &ExpressionVariables::experts},
    Variable{"k0", &ExpressionVariables::k0},
    Variable{"layer", &ExpressionVariables::layer},
    Variable{"layers", &ExpressionVariables::layers},
    Variable{"position", &ExpressionVariables::position},
    Variable{"decode", &ExpressionVariables::decode},
};

bool IsVariable(std::string_view name, bool has_pvalue) {
  return (has_pvalue && name == kPValue.name) ||
         std::any_of(kVariables.begin(), kVariables.end(),
                     [name](const Variable& variable) { return name == variable.name; });
}

// The smallest or largest of some values; NaN where one of them is NaN.
template <class Better>
double Extreme(const double* values, int size, Better better) {
  double best = values[0];
  for (int i = 0; i < size; ++i) {
    if (std::isnan(values[i])) return values[i];
    if (better(values[i], best)) best = values[i];
  }
  return best;
}
double Min(const double* values, int size) { return Extreme(values, size, std::less<>()); }
double Max(const double* values, int size) { return Extreme(values, size, std::greater<>()); }
double Abs(double x) { return std::abs(x); }
double Sqrt(double x) { return std::sqrt(x); }
double Exp(double x) { return std::exp(x); }
double Ln(double x) { return std::log(x); }
double Not(double x) { return x == 0 ? 1 : 0; }

// In place of muParser's own reader, which asks the locale.
int TakeNumber(const char* text, int* position, double* number) {
  const int length = static_cast<int>(ReadNumber(text, number));
  *position += length;
  return length > 0 ? 1 : 0;
}

// muParser takes a name for a function only where the parenthesis follows at once.
std::string JoinCalls(std::string_view text) {
  std::string joined;
  for (const char c : text) {
    if (c == '(') {
      while (!joined.empty() && absl::ascii_isspace(static_cast<unsigned char>(joined.back()))) {
        joined.pop_back();
      }
    }
    joined.push_back(c);
  }
  return joined;
}

}  // namespace

struct ExpressionEvaluator::Parser : mu::Parser {};

ExpressionEvaluator::ExpressionEvaluator(const std::string& text, bool has_pvalue)
    : parser_(std::make_unique<Parser>()) {
  parser_->ClearFun();
  parser_->ClearConst();
  // It would change the order of operations, and with it their rounding.
  parser_->EnableOptimizer(false);
  parser_->AddValIdent(TakeNumber);
  parser_->DefineFun("min", Min);
  parser_->DefineFun("max", Max);
  parser_->DefineFun("abs", Abs);
  parser_->DefineFun("sqrt", Sqrt);
  parser_->DefineFun("exp", Exp);
  parser_->DefineFun("ln", Ln);
  parser_->DefineInfixOprt("!", Not);
  for (const Variable& variable : kVariables) {
    parser_->DefineVar(variable.name, &(variables_.*variable.member));
  }
  if (has_pvalue) parser_->DefineVar(kPValue.name, &(variables_.*kPValue.member));
  parser_->SetExpr(JoinCalls(text));
  parser_->Eval();  // parses it
}

ExpressionEvaluator::~ExpressionEvaluator() = default;

double ExpressionEvaluator::Value() const { return parser_->Eval(); }

bool ExpressionEvaluator::Keeps() const {
  const double value = Value();
  return value != 0 && !std::isnan(value);
}

std::string ExpressionError(std::string_view text, bool has_pvalue) {
  if (text.empty() || text.size() > kMaxExpressionBytes) {
    return absl::StrCat("must have 1..", kMaxExpressionBytes, " bytes, has ", text.size());
  }
  std::string error = GrammarError(
      text, [has_pvalue](std::string_view name) { return IsVariable(name, has_pvalue); });
  if (!error.empty()) return error;
  try {
    const ExpressionEvaluator evaluator(std::string(text), has_pvalue);
    return "";
  } catch (const mu::ParserError& refused) {
    return absl::StrCat("at ", refused.GetPos() + 1, ": \"", refused.GetToken(),
                        "\": ", refused.GetMsg());
  }
}

CompiledExpression::CompiledExpression(std::string text, bool has_pvalue)
    : text_(std::move(text)), has_pvalue_(has_pvalue) {
  Borrow();  // the first evaluator is ready before the first row
}

CompiledExpression::Loan CompiledExpression::Borrow() const {
  {
    absl::MutexLock lock(&mu_);
    if (!idle_.empty()) {
      Loan loan(idle_.back().release(), GiveBack{this});
      idle_.pop_back();
      return loan;
    }
  }
  return Loan(new ExpressionEvaluator(text_, has_pvalue_), GiveBack{this});
}

void CompiledExpression::GiveBack::operator()(ExpressionEvaluator* evaluator) const {
  absl::MutexLock lock(&pool->mu_);
  pool->idle_.emplace_back(evaluator);
}

}  // namespace olmoe::routing
