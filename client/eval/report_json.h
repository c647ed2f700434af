// The JSON of a report, for reports that have more.
#ifndef OLMOE_CLIENT_EVAL_REPORT_JSON_H_
#define OLMOE_CLIENT_EVAL_REPORT_JSON_H_

#include <string>

#include "client/eval/report.h"
#include "nlohmann/json.hpp"

namespace olmoe::client::eval {

nlohmann::ordered_json ToJson(const Report& report);

// As it is printed, with a line feed.
std::string PrintedJson(const nlohmann::ordered_json& json, bool indent);

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_REPORT_JSON_H_
