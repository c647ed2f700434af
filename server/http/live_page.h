#ifndef OLMOE_SERVER_HTTP_LIVE_PAGE_H_
#define OLMOE_SERVER_HTTP_LIVE_PAGE_H_

#include "server/http/live_state.h"

namespace httplib {
class Server;
}

namespace olmoe::http {

// Lets `server` answer / (the page), /live/FILE (its parts), /live.json and
// /live/experts.json (live_state.h). `state` outlives the server.
void AddLivePage(const LiveState& state, httplib::Server* server);

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_LIVE_PAGE_H_
