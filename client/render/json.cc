#include "client/render/json.h"

#include "google/protobuf/util/json_util.h"

namespace olmoe::client::render {

std::string ToJson(const google::protobuf::Message& message, bool indent) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = indent;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  // A detail of a type that this program does not know cannot be printed as JSON.
  if (!status.ok()) return "{}";
  if (indent && !json.empty() && json.back() == '\n') json.pop_back();
  return json;
}

}  // namespace olmoe::client::render
