// Rules in words, for people: the live page's and olmoectl's.
#ifndef OLMOE_SERVER_ROUTING_RULE_WORDS_H_
#define OLMOE_SERVER_ROUTING_RULE_WORDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/routing/rule.h"

namespace olmoe::routing {

// What a rule does: "Benjamini-Hochberg, alpha 0.4, at most 16, calibration wiki". What
// is at its default is left out.
std::string DescribeRule(const Rule& rule);

// Of a policy without a rule of its own: "the model's own top 8".
std::string DescribeNative(int default_k);

// "0-3, 7" for ids of layers or experts: runs that ascend by one are drawn together.
std::string DescribeIds(const std::vector<uint32_t>& ids);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_RULE_WORDS_H_
