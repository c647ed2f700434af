// The cases of tests/data/routing (format: its README, section 5) as structs.
#ifndef OLMOE_TESTS_ROUTING_VECTOR_CASES_H_
#define OLMOE_TESTS_ROUTING_VECTOR_CASES_H_

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"
#include "server/routing/calibration.h"
#include "server/routing/route.h"

namespace olmoe::routing {

// (calibration, layer) -> table
using Tables = std::map<std::pair<std::string, int>, CdfTable>;

struct VectorCase {
  std::string name;  // "id 17 (ties)"
  RouterShape shape;
  std::vector<float> logits;
  Rule policy;
  std::optional<Rule> base;  // an ANALYZE case: `base` runs, `policy` is analyzed
  const CdfTable* table = nullptr;
  nlohmann::json expected;
};

std::vector<nlohmann::json> ReadJsonLines(const std::string& path);

// A number, or one of the strings "NaN", "Infinity", "-Infinity".
double NumberOf(const nlohmann::json& value);
std::vector<float> LogitsOf(const nlohmann::json& values);

Tables ReadTables(const std::string& path);

// The cases refer to `tables`.
std::vector<VectorCase> ReadVectorCases(const std::string& path, const Tables& tables);

}  // namespace olmoe::routing

#endif  // OLMOE_TESTS_ROUTING_VECTOR_CASES_H_
