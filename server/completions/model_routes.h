#ifndef OLMOE_SERVER_COMPLETIONS_MODEL_ROUTES_H_
#define OLMOE_SERVER_COMPLETIONS_MODEL_ROUTES_H_

#include <cstdint>
#include <vector>

#include "server/experiment/serving.h"
#include "server/http/message.h"

namespace olmoe::completions {

// Adds GET /v1/models, the model and one more name, ID@ARM, for each arm of the plan that clients
// may name; and GET /v1/models/{name}. `serving` outlives the routes. `created`: seconds since the
// epoch.
void AddModelRoutes(const experiment::Serving* serving, int64_t created,
                    std::vector<http::Route>* routes);

}  // namespace olmoe::completions

#endif  // OLMOE_SERVER_COMPLETIONS_MODEL_ROUTES_H_
