#ifndef OLMOE_CLIENT_RENDER_JSON_H_
#define OLMOE_CLIENT_RENDER_JSON_H_

#include <string>

namespace google::protobuf {
class Message;
}

namespace olmoe::client::render {

// The canonical JSON form of a message (lowerCamelCase names, 64-bit integers as
// strings, bytes in base64), zero values included. `indent`: on several lines.
std::string ToJson(const google::protobuf::Message& message, bool indent);

}  // namespace olmoe::client::render

#endif  // OLMOE_CLIENT_RENDER_JSON_H_
