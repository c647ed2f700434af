#include "tests/completions/fuzz_body.h"

#include <memory>
#include <string>

#include "glog/logging.h"
#include "server/completions/completion_request.h"
#include "server/completions/errors.h"
#include "server/engine/request.h"
#include "server/routing/controller.h"
#include "server/util/utf8.h"
#include "tests/engine/tiny_tokenizer.h"
#include "tests/support/fake_model.h"

namespace olmoe::completions {
namespace {

struct World {
  std::unique_ptr<text::Tokenizer> tokenizer = engine::MakeTinyTokenizer();
  testing::FakeModel model{{.vocab_size = engine::kTinyVocabSize}};
  routing::RoutingController controller{{.shape = model.info().router_shape()}};
  experiment::Serving serving;

  World() {
    serving.controller = &controller;
    serving.tokenizer = tokenizer.get();
    serving.model = model.info();
    serving.model.model_id = "tiny";
    serving.allow_inline_policy = true;
  }
};

void CheckRefusal(const absl::Status& status) {
  CHECK(absl::IsInvalidArgument(status) || absl::IsNotFound(status) || absl::IsOutOfRange(status) ||
        absl::IsPermissionDenied(status) || absl::IsFailedPrecondition(status))
      << status;
  CHECK(IsWellFormedUtf8(ErrorJson(status)));
}

}  // namespace

void FuzzBody(std::string_view body) {
  static const World& world = *new World();
  const auto request = ParseCompletion(body, world.serving);
  if (!request.ok()) return CheckRefusal(request.status());
  CHECK(!request->prompts.empty() && request->prompts.size() <= kMaxPrompts);
  for (const engine::GenerateWork& work : request->prompts) {
    engine::Request checked;
    checked.work = work;
    checked.pin = world.serving.controller->slot().Pin();
    checked.assignment = checked.pin->Assign("", "fuzz");
    engine::CheckValid(checked, world.serving.model);
  }
}

}  // namespace olmoe::completions
