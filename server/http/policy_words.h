#ifndef OLMOE_SERVER_HTTP_POLICY_WORDS_H_
#define OLMOE_SERVER_HTTP_POLICY_WORDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/routing/rule.h"

namespace olmoe::http {

// What a rule does, for people: "Benjamini-Hochberg, alpha 0.4, at most 16 experts". What
// is at its default is left out.
std::string RuleWords(const routing::Rule& rule);

// Of a policy without a rule of its own: "the model's own top 8".
std::string NativeWords(int default_top_k);

// "0-3, 7" for ascending layers.
std::string LayerWords(const std::vector<uint32_t>& layers);

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_POLICY_WORDS_H_
