#ifndef OLMOE_CLIENT_RENDER_ERRORS_H_
#define OLMOE_CLIENT_RENDER_ERRORS_H_

#include <string>

#include "absl/status/status.h"
#include "client/render/style.h"

namespace olmoe::client::render {

// "olmoectl: CODE: message", then one indented line for each google.rpc detail
// that says more than the message does: offending fields, preconditions, a reason,
// when to try again. `status` is not OK.
std::string ErrorText(const absl::Status& status, const Style& style);

// The status as the JSON form of google.rpc.Status, on one line, `hint` behind its message.
// Details of types that this program does not know are left out.
std::string ErrorJson(const absl::Status& status, const std::string& hint = "");

}  // namespace olmoe::client::render

#endif  // OLMOE_CLIENT_RENDER_ERRORS_H_
