#include "server/completions/completions.h"

#include <utility>

#include "absl/time/clock.h"
#include "server/completions/completion_call.h"
#include "server/completions/model_routes.h"
#include "server/completions/responses.h"
#include "server/completions/tokenizer_routes.h"

namespace olmoe::completions {
namespace {

// As large as a message of the gRPC ports.
constexpr size_t kMaxBodyBytes = 16 << 20;
constexpr int kWriters = 2;

void RefuseChat(const http::Request&, const http::Reply& reply) {
  reply.Send(ErrorResponse(absl::NotFoundError(
      "this server renders no chat templates: send the rendered text to /v1/completions")));
}

}  // namespace

Completions::Completions(Options options)
    : limits_(options.limits),
      start_seconds_(absl::ToUnixSeconds(absl::Now())),
      line_({.max_places = options.streams, .max_waiting = options.max_waiting}),
      writing_(kWriters),
      preparing_(std::make_unique<limits::FairWorkers>(limits::FairWorkers::Options{
          .max_waiting = 2 * options.streams, .max_waiting_per_client = 2 * options.streams})),
      context_{.serving = options.serving,
               .limits = options.limits,
               .line = &line_,
               .preparing = preparing_.get(),
               .writing = &writing_,
               .behind_proxy = options.behind_proxy,
               .wait = options.wait},
      ready_(std::move(options.ready)) {
  limits_->SetFreedListener([this] { Wake(); });
}

Completions::~Completions() {
  limits_->SetFreedListener({});
  line_.Stop();
  preparing_.reset();
  line_.AwaitNone();
}

void Completions::Drain() {
  draining_ = true;
  line_.Shut();
}

std::vector<http::Route> Completions::Routes() {
  std::vector<http::Route> routes = {
      {.method = "POST",
       .path = "/v1/completions",
       .handler =
           [context = &context_](http::Request request, http::Reply reply) {
             CompletionCall::Start(context, std::move(request), std::move(reply));
           },
       .max_body_bytes = kMaxBodyBytes},
      {.method = "POST",
       .path = "/v1/chat/completions",
       .handler = RefuseChat,
       .max_body_bytes = kMaxBodyBytes},
      {.method = "GET",
       .path = "/health",
       .handler =
           [this](const http::Request&, http::Reply reply) {
             const bool is_ready = !draining_ && (ready_ == nullptr || ready_());
             reply.Send(is_ready
                            ? JsonResponse(200, "{\"status\":\"ok\"}")
                            : ErrorResponse(absl::UnavailableError("the server is not ready")));
           },
       .open_to_all = true}};
  AddModelRoutes(context_.serving, start_seconds_, &routes);
  AddTokenizerRoutes(&context_, kMaxBodyBytes, &routes);
  return routes;
}

}  // namespace olmoe::completions
