#ifndef OLMOE_SERVER_API_REPLAY_PROTO_H_
#define OLMOE_SERVER_API_REPLAY_PROTO_H_

#include <memory>
#include <string>

#include "olmoe/v1/inference.pb.h"
#include "server/api/request_errors.h"
#include "server/routing/replay.h"

namespace olmoe::api {

// The trace of `replay` and how it is weighed, but not its `otherwise`; fields are named below
// `field`. Null after an error.
std::shared_ptr<const routing::RecordedRouting> ParseReplay(const v1::Replay& replay,
                                                            const std::string& field,
                                                            const routing::RouterShape& shape,
                                                            RequestErrors* errors);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_REPLAY_PROTO_H_
