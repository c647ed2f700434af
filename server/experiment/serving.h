#ifndef OLMOE_SERVER_EXPERIMENT_SERVING_H_
#define OLMOE_SERVER_EXPERIMENT_SERVING_H_

#include <cstdint>
#include <functional>
#include <string_view>

#include "server/engine/request_outcome.h"
#include "server/model/model.h"

namespace olmoe::engine {
class Engine;
}
namespace olmoe::routing {
class CalibrationSet;
class RouterSet;
class RoutingController;
}  // namespace olmoe::routing
namespace olmoe::text {
class Tokenizer;
}

namespace olmoe::experiment {

// What the name of a client begins with where it is that of a token or a certificate, and not an
// address.
inline constexpr std::string_view kNamedClient = "name:";

// Whose prompts may be found in the KV cache. That one is there can be told from the time to the
// first token, so by default nobody learns what callers of other names have asked.
enum class PrefixCache { kOff, kPrincipal, kShared };

// The model that is served and what routes it: what requests are checked against and run on,
// whichever protocol they come by. Pointers are not owned and outlive it. Constant once serving;
// what it points to is thread-safe.
struct Serving {
  engine::Engine* engine = nullptr;
  routing::RoutingController* controller = nullptr;
  // Also the controller's. Null: inline policies have none; calibrations cannot be changed.
  routing::CalibrationSet* calibrations = nullptr;
  routing::RouterSet* routers = nullptr;        // likewise
  // What computes. Requests go to the engine: this is for what any thread may call.
  const model::Model* loaded_model = nullptr;
  const text::Tokenizer* tokenizer = nullptr;  // null: token ids only
  model::ModelInfo model;

  bool allow_inline_policy = false;
  PrefixCache prefix_cache = PrefixCache::kOff;
  // What holds where a request says nothing; the seed is not looked at.
  model::SamplingParams sampling_defaults = {};
  int64_t max_response_bytes = int64_t{64} << 20;  // of one Score or Detokenize

  // Called once for every request that ended, on any thread; must be thread-safe and must not
  // block. May be empty.
  std::function<void(const engine::RequestOutcome&)> on_request_done;
};

}  // namespace olmoe::experiment

#endif  // OLMOE_SERVER_EXPERIMENT_SERVING_H_
