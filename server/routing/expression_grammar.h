#ifndef OLMOE_SERVER_ROUTING_EXPRESSION_GRAMMAR_H_
#define OLMOE_SERVER_ROUTING_EXPRESSION_GRAMMAR_H_

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace olmoe::routing {

// The first thing in the text that the grammar does not have: "at 7: "^" is not an operator"; ""
// where all is well. `is_variable`: which names there are.
std::string GrammarError(std::string_view text,
                         const std::function<bool(std::string_view)>& is_variable);

// Reads the number that `text` begins with. Returns its length; 0 where there is none, or no
// finite one.
size_t ReadNumber(std::string_view text, double* number);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_EXPRESSION_GRAMMAR_H_
