#ifndef OLMOE_SERVER_HTTP_PACKED_BODY_H_
#define OLMOE_SERVER_HTTP_PACKED_BODY_H_

#include <string>

namespace httplib {
struct Request;
struct Response;
}  // namespace httplib

namespace olmoe::http {

// Answers with `text`, as gzip where the client takes that.
void SetPackedBody(std::string text, const char* type, const httplib::Request& request,
                   httplib::Response* response);

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_PACKED_BODY_H_
