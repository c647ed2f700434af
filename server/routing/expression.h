// The text of an EXPRESSION rule: what it may be, and its value for an expert. The grammar and the
// variables are those of tests/data/selection/README.md, section 3.
#ifndef OLMOE_SERVER_ROUTING_EXPRESSION_H_
#define OLMOE_SERVER_ROUTING_EXPRESSION_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace olmoe::routing {

inline constexpr size_t kMaxExpressionBytes = 512;

// What is wrong with the text, with the position and the token; "" where nothing is. `has_pvalue`:
// `pvalue` is a variable.
std::string ExpressionError(std::string_view text, bool has_pvalue);

// What an expression may ask about an expert of a row.
struct ExpressionVariables {
  double z = 0, s = 0;  // raw logit; score
  double p = 0;         // its probability
  double p1 = 0, p2 = 0, p3 = 0, p4 = 0, p5 = 0, p6 = 0, p7 = 0, p8 = 0;  // the largest ones
  double rank = 0, before = 0;  // 1 = first; probability mass of the ranks before
  double entropy = 0;           // nats
  double expert = 0, experts = 0, k0 = 0;
  double layer = 0, layers = 0, position = 0, decode = 0;
  double pvalue = 0;
};

// A parsed text with variables of its own. Thread-compatible.
class ExpressionEvaluator {
 public:
  ExpressionEvaluator(const std::string& text, bool has_pvalue);
  ~ExpressionEvaluator();

  ExpressionVariables& variables() { return variables_; }
  // True where the value for the variables is neither 0 nor NaN.
  bool Keeps() const;
  // The value itself.
  double Value() const;

 private:
  struct Parser;  // muParser's, which may throw while it parses

  ExpressionVariables variables_;
  const std::unique_ptr<Parser> parser_;
};

// The expression of a rule: a pool of evaluators, as many as threads have routed rows by it at
// once. Thread-safe.
class CompiledExpression {
 public:
  // REQUIRES: ExpressionError says nothing against the text.
  CompiledExpression(std::string text, bool has_pvalue);

  struct GiveBack {
    const CompiledExpression* pool;
    void operator()(ExpressionEvaluator* evaluator) const;
  };
  using Loan = std::unique_ptr<ExpressionEvaluator, GiveBack>;
  // Goes back by itself. The pool outlives it.
  Loan Borrow() const;

 private:
  const std::string text_;
  const bool has_pvalue_;
  mutable absl::Mutex mu_;
  mutable std::vector<std::unique_ptr<ExpressionEvaluator>> idle_ ABSL_GUARDED_BY(mu_);
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_EXPRESSION_H_
