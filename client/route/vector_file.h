#ifndef OLMOE_CLIENT_ROUTE_VECTOR_FILE_H_
#define OLMOE_CLIENT_ROUTE_VECTOR_FILE_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "client/route/cdf_tables.h"
#include "nlohmann/json.hpp"

namespace olmoe::client::route {

// Decides one case of tests/data/routing/vectors.jsonl (format: its README, section
// 5) or of tests/data/selection/vectors.jsonl (section 7): the object that it calls `expected`, whose errors are results, too. INVALID_ARGUMENT
// only where `line` is no case at all.
absl::StatusOr<nlohmann::ordered_json> DecideCase(std::string_view line, const CdfTables& tables);

}  // namespace olmoe::client::route

#endif  // OLMOE_CLIENT_ROUTE_VECTOR_FILE_H_
