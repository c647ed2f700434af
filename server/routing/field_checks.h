// Checks of single fields that rules, policies, plans and calibrations share.
#ifndef OLMOE_SERVER_ROUTING_FIELD_CHECKS_H_
#define OLMOE_SERVER_ROUTING_FIELD_CHECKS_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "server/util/status_details.h"

namespace olmoe::routing {

// Descriptions, notes and salts: long enough for a sentence, short enough for a
// history of plans.
inline constexpr size_t kMaxTextBytes = 256;

// "prefix.name"; "name" where the prefix is empty.
std::string FieldPath(std::string_view prefix, std::string_view name);
// "prefix.name[index]"
std::string FieldPath(std::string_view prefix, std::string_view name, size_t index);

// Names that become metric label values: [a-z0-9][a-z0-9-]{0,31}.
void CheckName(std::string_view value, std::string field, std::vector<FieldViolation>* violations);

// Names of calibrations and routers: [a-z0-9][a-z0-9._-]{0,63}.
void CheckLongName(std::string_view value, std::string field,
                   std::vector<FieldViolation>* violations);

// At most kMaxTextBytes.
void CheckText(std::string_view value, std::string field, std::vector<FieldViolation>* violations);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_FIELD_CHECKS_H_
