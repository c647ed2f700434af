// What the JSON files that olmoectl reads have in common.
#ifndef OLMOE_CLIENT_NOTATION_JSON_NUMBERS_H_
#define OLMOE_CLIENT_NOTATION_JSON_NUMBERS_H_

#include <vector>

#include "server/util/json_cursor.h"

namespace olmoe::client::notation {

// Of a file of tables, and of a line of any other file.
inline constexpr JsonLimits kJsonLimits = {.max_depth = 16, .max_values = 1u << 27};

// Returns a number, or what one of the strings "NaN", "Infinity" and "-Infinity" stands for; fails
// for anything else.
double ReadNumber(const JsonCursor& value);
// The same for each element of an array.
std::vector<double> ReadNumbers(const JsonCursor& array);

}  // namespace olmoe::client::notation

#endif  // OLMOE_CLIENT_NOTATION_JSON_NUMBERS_H_
