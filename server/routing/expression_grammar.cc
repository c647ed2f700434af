// The grammar of expressions, as tests/data/selection/README.md has it, by recursive descent:
//
//   expr    := or [ "?" expr ":" expr ]
//   or      := and { "||" and }
//   and     := cmp { "&&" cmp }
//   cmp     := sum { ("<" | "<=" | ">" | ">=" | "==" | "!=") sum }
//   sum     := mul { ("+" | "-") mul }
//   mul     := unary { ("*" | "/") unary }
//   unary   := [ "-" | "+" | "!" ] primary
//   primary := number | variable | function "(" expr { "," expr } ")" | "(" expr ")"
//
// muParser evaluates what passes. It would take more (powers, assignments, lists), so what is
// valid is decided here. A text has at most 512 bytes, which bounds the depth of the recursion.
#include "server/routing/expression_grammar.h"

#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/charconv.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace olmoe::routing {
namespace {

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }
bool IsNameStart(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool IsNamePart(char c) { return IsNameStart(c) || IsDigit(c); }
bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// At the beginning of `text`; longer operators stand before their beginnings.
size_t OperatorLength(std::string_view text) {
  for (const std::string_view both : {"||", "&&", "<=", ">=", "==", "!="}) {
    if (text.substr(0, 2) == both) return 2;
  }
  return std::string_view("<>+-*/!?:(),").find(text[0]) == std::string_view::npos ? 0 : 1;
}

// Of the number at the beginning of `text`, by form alone.
size_t NumberLength(std::string_view text) {
  const auto digits_from = [text](size_t at) {
    while (at < text.size() && IsDigit(text[at])) ++at;
    return at;
  };
  const auto is = [text](size_t at, std::string_view any) {
    return at < text.size() && any.find(text[at]) != std::string_view::npos;
  };
  size_t end = digits_from(0);
  size_t num_digits = end;
  if (is(end, ".")) {
    const size_t fraction_end = digits_from(end + 1);
    num_digits += fraction_end - end - 1;
    end = fraction_end;
  }
  if (num_digits == 0) return 0;
  if (!is(end, "eE")) return end;
  const size_t exponent = end + (is(end + 1, "+-") ? 2 : 1);
  const size_t exponent_end = digits_from(exponent);
  return exponent_end == exponent ? end : exponent_end;
}

class Checker {
 public:
  Checker(std::string_view text, const std::function<bool(std::string_view)>& is_variable)
      : text_(text), is_variable_(is_variable) {
    Advance();
  }

  std::string Check() {
    Expression();
    if (!IsEnd()) Refuse();
    return error_;
  }

 private:
  enum class Kind { kNumber, kName, kOperator, kEnd };

  void Fail(std::string_view what) {
    if (error_.empty()) error_ = absl::StrCat("at ", begin_ + 1, ": ", std::string(what));
    kind_ = Kind::kEnd;  // nothing more is read
    end_ = begin_ = text_.size();
  }
  std::string Quoted() const {
    return absl::StrCat("\"", absl::CHexEscape(std::string(text_.substr(begin_, end_ - begin_))),
                        "\"");
  }
  void Refuse() {
    Fail(IsEnd() ? "the text ends where a value is missing"
                 : absl::StrCat(Quoted(), " cannot stand here"));
  }

  // Reads the next token.
  void Advance() {
    begin_ = end_;
    while (begin_ < text_.size() && IsSpace(text_[begin_])) ++begin_;
    end_ = begin_;
    kind_ = Kind::kEnd;
    if (begin_ == text_.size() || !error_.empty()) return;
    const std::string_view rest = text_.substr(begin_);
    if (const size_t length = NumberLength(rest); length > 0) {
      TakeNumber(rest, length);
    } else if (IsNameStart(rest[0])) {
      kind_ = Kind::kName;
      while (end_ < text_.size() && IsNamePart(text_[end_])) ++end_;
    } else if (const size_t operator_length = OperatorLength(rest); operator_length > 0) {
      kind_ = Kind::kOperator;
      end_ += operator_length;
    } else {
      ++end_;
      Fail(absl::StrCat(Quoted(), " is not known"));
    }
  }

  void TakeNumber(std::string_view rest, size_t length) {
    kind_ = Kind::kNumber;
    end_ += length;
    double value = 0;
    if (end_ < text_.size() && (IsNamePart(text_[end_]) || text_[end_] == '.')) {
      ++end_;
      Fail(absl::StrCat(Quoted(), " is not a number"));
    } else if (ReadNumber(rest, &value) != length) {
      Fail(absl::StrCat(Quoted(), " is not a finite number"));
    }
  }

  bool IsEnd() const { return kind_ == Kind::kEnd; }
  bool Is(std::string_view op) const {
    return kind_ == Kind::kOperator && text_.substr(begin_, end_ - begin_) == op;
  }
  bool Take(std::string_view op) {
    const bool is = Is(op);
    if (is) Advance();
    return is;
  }
  void Expect(std::string_view op) {
    if (Take(op) || !error_.empty()) return;
    Fail(absl::StrCat(IsEnd() ? "the text ends" : Quoted(), " where \"", std::string(op),
                      "\" is missing"));
  }

  // The recursion is as deep as the text nests, so few functions take part in it.
  void Expression() {
    Operators(0);
    if (!Take("?")) return;
    Expression();
    Expect(":");
    Expression();
  }

  // A value, and operators of two sides that bind at least that much with what follows them.
  void Operators(int least) {
    Value();
    for (int level = Level(); level >= least; level = Level()) {
      Advance();
      Operators(level + 1);
    }
  }

  // How much the operator binds; -1 for what is none.
  int Level() const {
    static constexpr std::pair<std::string_view, int> kLevels[] = {
        {"||", 0}, {"&&", 1}, {"<", 2}, {"<=", 2}, {">", 2}, {">=", 2},
        {"==", 2}, {"!=", 2}, {"+", 3}, {"-", 3},  {"*", 4}, {"/", 4}};
    for (const auto& [op, level] : kLevels) {
      if (Is(op)) return level;
    }
    return -1;
  }

  // unary of the grammar.
  void Value() {
    if (Is("-") || Is("+") || Is("!")) Advance();
    if (kind_ == Kind::kNumber) return Advance();
    if (kind_ == Kind::kName) return Name();
    if (!Take("(")) return Refuse();
    Expression();
    Expect(")");
  }

  void Name() {
    const std::string name(text_.substr(begin_, end_ - begin_));
    const bool many = name == "min" || name == "max";
    if (!many && name != "abs" && name != "sqrt" && name != "exp" && name != "ln") {
      if (is_variable_(name)) return Advance();
      return Fail(absl::StrCat(Quoted(), " is neither a variable nor a function"));
    }
    Advance();
    Expect("(");
    Expression();
    while (many && Take(",")) Expression();
    Expect(")");
  }

  const std::string_view text_;
  const std::function<bool(std::string_view)>& is_variable_;
  Kind kind_ = Kind::kEnd;           // of the token that is looked at
  size_t begin_ = 0, end_ = 0;       // its bytes
  std::string error_;
};

}  // namespace

size_t ReadNumber(std::string_view text, double* number) {
  const size_t length = NumberLength(text);
  const auto result = absl::from_chars(text.data(), text.data() + length, *number);
  // Out of range is also what is too small; that is 0 or denormal, and the nearest double.
  const bool too_large = result.ec == std::errc::result_out_of_range && *number > 1;
  return too_large || result.ptr != text.data() + length ? 0 : length;
}

std::string GrammarError(std::string_view text,
                         const std::function<bool(std::string_view)>& is_variable) {
  return Checker(text, is_variable).Check();
}

}  // namespace olmoe::routing
