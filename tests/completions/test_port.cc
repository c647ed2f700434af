#include "tests/completions/test_port.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "server/completions/responses.h"
#include "server/net/listener.h"

namespace olmoe::completions {

using testing::Answer;
using testing::RawClient;

std::string PostRequest(std::string_view path, std::string_view body,
                        std::string_view more_fields) {
  return absl::StrCat("POST ", std::string(path),
                      " HTTP/1.1\r\nHost: a\r\nContent-Length: ", body.size(), "\r\n",
                      std::string(more_fields), "\r\n", std::string(body));
}

TestPort::TestPort(TestPortOptions options)
    : tokenizer_(options.tokenizer ? engine::MakeTinyTokenizer() : nullptr),
      model_(options.model),
      controller_({.shape = model_.info().router_shape()}),
      limits_(options.limits),
      serving_(options.serving) {
  serving_.controller = &controller_;
  serving_.loaded_model = &model_;
  serving_.tokenizer = tokenizer_.get();
  serving_.model = model_.info();
  serving_.model.model_id = kModelId;
  serving_.on_request_done = [this](const engine::RequestOutcome& outcome) {
    outcomes_.Add(outcome);
    completions_->Wake();
  };
  completions_ =
      std::make_unique<Completions>(Completions::Options{.serving = &serving_,
                                                         .limits = &limits_,
                                                         .streams = options.streams,
                                                         .max_waiting = options.max_waiting,
                                                         .wait = options.wait});
  engine_ = engine::Engine::Create(options.engine, &model_, tokenizer_.get());
  serving_.engine = engine_.get();
  auto server = http::HttpServer::Create({.listener = *net::Listener::Bind("127.0.0.1:0"),
                                          .routes = completions_->Routes(),
                                          .gate = options.gate,
                                          .refusal = RefusalJson});
  CHECK(server.ok()) << server.status();
  server_ = *std::move(server);
}

TestPort::~TestPort() {
  model_.Unhold();
  server_->Stop();
  completions_->AwaitCalls();
}

Answer TestPort::Post(std::string_view path, const std::string& body,
                      const std::string& more_fields) const {
  RawClient client = Client();
  EXPECT_TRUE(client.Send(PostRequest(path, body, more_fields)));
  return client.Read();
}

Answer TestPort::Get(const std::string& path) const { return Client().Get(path); }

Json TestPort::Complete(const Json& request) const {
  const Answer answer = Post("/v1/completions", request.dump());
  EXPECT_EQ(answer.status, 200) << answer.body;
  return Json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
}

TestPort::Error TestPort::Refusal(const Json& request) const {
  const Answer answer = Post("/v1/completions", request.dump());
  const Json error = Json::parse(answer.body).at("error");
  const auto text = [&](const char* name) {
    return error.at(name).is_null() ? "" : error.at(name).get<std::string>();
  };
  return {answer.status, text("message"), text("type"), text("param"), text("code")};
}

std::vector<std::string> TestPort::Stream(Json request) const {
  request["stream"] = true;
  RawClient client = Client();
  EXPECT_TRUE(client.Send(PostRequest("/v1/completions", request.dump())));
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 200) << answer.body;
  std::string all;
  for (std::string chunk = client.ReadChunk(); !chunk.empty(); chunk = client.ReadChunk()) {
    all += chunk;
  }
  std::vector<std::string> events;
  for (const auto event : absl::StrSplit(all, "\n\n", absl::SkipEmpty())) {
    EXPECT_EQ(event.substr(0, 6), "data: ");
    events.emplace_back(event.substr(6));
  }
  return events;
}

Json TestPort::Joined(const std::vector<std::string>& events) {
  Json choices = Json::array();
  for (const std::string& event : events) {
    if (event == "[DONE]") break;
    const Json chunk = Json::parse(event);
    for (const Json& part : chunk.at("choices")) {
      const size_t index = part.at("index");
      while (choices.size() <= index) choices.push_back(nullptr);
      Json& choice = choices[index];
      if (choice.is_null()) {
        choice = part;
        continue;
      }
      choice["text"] = choice["text"].get<std::string>() + part.at("text").get<std::string>();
      if (!part.at("logprobs").is_null()) {
        for (const auto& [name, values] : part.at("logprobs").items()) {
          for (const Json& value : values) choice["logprobs"][name].push_back(value);
        }
      }
      if (part.contains("token_ids")) {
        for (const Json& id : part.at("token_ids")) choice["token_ids"].push_back(id);
      }
      for (const char* name : {"finish_reason", "stop_reason", "routed_experts"}) {
        if (part.contains(name)) choice[name] = part.at(name);
      }
    }
  }
  return choices;
}

}  // namespace olmoe::completions
