// The completions port over a FakeModel and a real engine.
#ifndef OLMOE_TESTS_COMPLETIONS_TEST_PORT_H_
#define OLMOE_TESTS_COMPLETIONS_TEST_PORT_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "nlohmann/json.hpp"
#include "server/access/gate.h"
#include "server/completions/completions.h"
#include "server/engine/engine.h"
#include "server/http/http_server.h"
#include "server/limits/call_limits.h"
#include "server/routing/controller.h"
#include "server/text/tokenizer.h"
#include "tests/engine/tiny_tokenizer.h"
#include "tests/http/raw_client.h"
#include "tests/support/fake_model.h"
#include "tests/support/outcome_log.h"

namespace olmoe::completions {

using Json = nlohmann::ordered_json;

inline constexpr char kModelId[] = "owner/tiny";

struct TestPortOptions {
  testing::FakeModelOptions model = {.vocab_size = engine::kTinyVocabSize};
  engine::EngineOptions engine = {};
  bool tokenizer = true;
  limits::CallLimits::Options limits = {};
  experiment::Serving serving = {};  // what of it is not this port's to set
  size_t streams = 256;
  size_t max_waiting = 1024;
  absl::Duration wait = absl::Seconds(300);
  std::shared_ptr<const access::Gate> gate = {};
};

using testing::Outcome;

// Thread-safe.
class TestPort {
 public:
  explicit TestPort(TestPortOptions options = {});
  ~TestPort();

  // One request on a connection of its own; `body`: JSON, or any text.
  testing::Answer Post(std::string_view path, const std::string& body,
                       const std::string& more_fields = "") const;
  testing::Answer Get(const std::string& path) const;
  // A completion that is expected to succeed.
  Json Complete(const Json& request) const;
  // The code of the answer, and its `error`, with "" for null.
  struct Error {
    int status = 0;
    std::string message, type, param, code;
  };
  Error Refusal(const Json& request) const;
  // The data of the events of a stream, all of it.
  std::vector<std::string> Stream(Json request) const;
  // The choices of the chunks put together by index, as one reply has them; and their number.
  static Json Joined(const std::vector<std::string>& events);

  testing::RawClient Client() const { return testing::RawClient(server_->port()); }
  testing::FakeModel& model() { return model_; }
  engine::Engine& engine() { return *engine_; }
  routing::RoutingController& controller() { return controller_; }
  Completions& completions() { return *completions_; }
  limits::CallLimits& limits() { return limits_; }
  http::HttpServer& server() { return *server_; }
  const experiment::Serving& serving() const { return serving_; }

  // Waits until this many requests have ended.
  void AwaitOutcomes(size_t count) const { outcomes_.Await(count); }
  std::vector<Outcome> outcomes() const { return outcomes_.all(); }
  // Waits until the condition holds; it is asked again and again.
  template <class Condition>
  static void Await(const Condition& condition) {
    while (!condition()) absl::SleepFor(absl::Milliseconds(1));
  }

 private:
  testing::OutcomeLog outcomes_;
  const std::unique_ptr<text::Tokenizer> tokenizer_;
  testing::FakeModel model_;
  routing::RoutingController controller_;
  limits::CallLimits limits_;
  experiment::Serving serving_;
  std::unique_ptr<Completions> completions_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<http::HttpServer> server_;
};

// The bytes of a POST.
std::string PostRequest(std::string_view path, std::string_view body,
                        std::string_view more_fields = "");

}  // namespace olmoe::completions

#endif  // OLMOE_TESTS_COMPLETIONS_TEST_PORT_H_
