#ifndef OLMOE_SERVER_HTTP_LIVE_PAGE_H_
#define OLMOE_SERVER_HTTP_LIVE_PAGE_H_

#include <memory>
#include <vector>

#include "server/http/live_state.h"
#include "server/http/message.h"
#include "server/http/renderer.h"

namespace olmoe::http {

// Adds / (the page), /live/FILE (its parts), /live.json and /live/experts.json (live_state.h).
// `state` outlives the routes.
void AddLivePage(const LiveState& state, const std::shared_ptr<Renderer>& renderer,
                 std::vector<Route>* routes);

}  // namespace olmoe::http

#endif  // OLMOE_SERVER_HTTP_LIVE_PAGE_H_
