// Calls that wait for a place, for memory and for the queue, and calls whose client goes.
#include <iterator>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/completions/test_port.h"

namespace olmoe::completions {
namespace {

using testing::Answer;
using ::testing::HasSubstr;
using testing::RawClient;

std::string Body(const std::string& id, int max_tokens = 2) {
  return Json{{"prompt", "hello"}, {"max_tokens", max_tokens}, {"request_id", id}}.dump();
}

// One sequence at a time and one that waits; the model is held.
TestPortOptions SmallEngine() {
  TestPortOptions options;
  options.engine.max_batch_sequences = 1;
  options.engine.max_queue = 1;
  return options;
}

// Sends a call and does not read its answer.
RawClient Send(const TestPort& port, const std::string& body) {
  RawClient client = port.Client();
  EXPECT_TRUE(client.Send(PostRequest("/v1/completions", body)));
  return client;
}

class WaitingTest : public ::testing::Test {
 protected:
  // One runs, one is queued, and `ids` wait in line, in this order.
  void Fill(TestPort* port, const std::vector<std::string>& ids) {
    port->model().Hold();
    clients_.push_back(Send(*port, Body("runs")));
    port->model().AwaitStepBegun(1);
    clients_.push_back(Send(*port, Body("queued")));
    TestPort::Await([&] { return port->engine().Status().queued_requests == 1; });
    for (size_t i = 0; i < ids.size(); ++i) {
      clients_.push_back(Send(*port, Body(ids[i])));
      TestPort::Await([&] { return port->completions().num_waiting() == i + 1; });
    }
  }

  std::list<RawClient> clients_;
};

TEST_F(WaitingTest, WhereTheQueueIsFullCallsWaitFirstInFirstOut) {
  TestPort port(SmallEngine());
  Fill(&port, {"a", "b", "c", "d"});
  port.model().Unhold();
  for (RawClient& client : clients_) EXPECT_EQ(client.Read().status, 200);
  std::vector<std::string> ended;
  for (const Outcome& outcome : port.outcomes()) ended.push_back(outcome.request_id);
  EXPECT_THAT(ended, ::testing::ElementsAre("runs", "queued", "a", "b", "c", "d"));
}

TEST_F(WaitingTest, WhoHasWaitedTooLongIsToldWhenToComeBack) {
  TestPortOptions options = SmallEngine();
  options.wait = absl::Milliseconds(20);
  TestPort port(options);
  Fill(&port, {"late"});
  const Answer answer = clients_.back().Read();
  EXPECT_EQ(answer.status, 429);
  EXPECT_NE(answer.Header("Retry-After"), "");
  EXPECT_EQ(Json::parse(answer.body).at("error").at("type"), "rate_limit_error");
  port.model().Unhold();
  EXPECT_EQ(clients_.front().Read().status, 200);
}

TEST_F(WaitingTest, WithoutPatienceAnIdleServerStillAnswers) {
  TestPortOptions options;
  options.wait = absl::ZeroDuration();
  TestPort port(options);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(port.Post("/v1/completions", Body("x")).status, 200);
}

TEST_F(WaitingTest, WhoGoesLeavesTheLineAtOnce) {
  TestPort port(SmallEngine());
  Fill(&port, {"gone", "stays"});
  clients_.erase(std::next(clients_.begin(), 2));
  port.AwaitOutcomes(1);
  EXPECT_EQ(port.outcomes()[0].code, absl::StatusCode::kCancelled);
  EXPECT_FALSE(port.outcomes()[0].reached_engine);
  EXPECT_EQ(port.completions().num_waiting(), 1);
  port.model().Unhold();
  for (RawClient& client : clients_) EXPECT_EQ(client.Read().status, 200);
}

TEST_F(WaitingTest, DrainingTurnsAwayWhoWaitsAndFinishesWhatRuns) {
  TestPort port(SmallEngine());
  Fill(&port, {"waits"});
  port.completions().Drain();
  EXPECT_EQ(clients_.back().Read().status, 503);
  EXPECT_EQ(port.Post("/v1/completions", Body("new")).status, 503);
  EXPECT_EQ(port.Get("/health").status, 503);
  port.model().Unhold();
  clients_.pop_back();
  for (RawClient& client : clients_) EXPECT_EQ(client.Read().status, 200);
}

TEST_F(WaitingTest, TheLineIsBounded) {
  TestPortOptions options = SmallEngine();
  options.max_waiting = 1;
  options.streams = 2;
  TestPort port(options);
  Fill(&port, {"waits"});
  const Answer answer = port.Post("/v1/completions", Body("more"));
  EXPECT_EQ(answer.status, 429);
  EXPECT_NE(answer.Header("Retry-After"), "");
  port.model().Unhold();
  for (RawClient& client : clients_) EXPECT_EQ(client.Read().status, 200);
}

TEST_F(WaitingTest, CallsBeyondTheStreamsWaitForAPlace) {
  TestPortOptions options;
  options.streams = 1;
  TestPort port(options);
  port.model().Hold();
  clients_.push_back(Send(port, Body("first")));
  port.model().AwaitStepBegun(1);
  clients_.push_back(Send(port, Body("second")));
  TestPort::Await([&] { return port.completions().num_waiting() == 1; });
  EXPECT_EQ(port.engine().Status().requests.size(), 1);
  port.model().Unhold();
  for (RawClient& client : clients_) EXPECT_EQ(client.Read().status, 200);
}

TEST_F(WaitingTest, ACallWithMorePromptsThanTheQueueHasPlacesIsServed) {
  TestPort port(SmallEngine());
  const Json request = {{"prompt", std::vector<std::string>(40, "hello")}, {"max_tokens", 2}};
  EXPECT_EQ(port.Complete(request).at("choices").size(), 40);
  for (const Outcome& outcome : port.outcomes()) EXPECT_EQ(outcome.code, absl::StatusCode::kOk);
  EXPECT_EQ(port.outcomes().size(), 40);
}

TEST_F(WaitingTest, AllPromptsOfACallHaveOnePlan) {
  TestPort port(SmallEngine());
  port.model().Hold();
  const Json request = {{"prompt", std::vector<std::string>(4, "hello")}, {"max_tokens", 2}};
  RawClient client = Send(port, request.dump());
  port.model().AwaitStepBegun(1);
  TestPort::Await([&] { return port.completions().num_waiting() == 1; });
  routing::PlanSpec spec;
  spec.arms.resize(1);
  spec.arms[0].arm_id = "new";
  spec.arms[0].weight = 1;
  spec.arms[0].policy.policy_id = "top-1";
  spec.arms[0].policy.apply = routing::Rule{.kind = routing::TopK{.k = 1}};
  ASSERT_TRUE(port.controller().Patch(spec, {}).ok());
  port.model().Unhold();
  const Json reply = Json::parse(client.Read().body);
  const Json& choices = reply.at("choices");
  for (const Json& choice : choices) EXPECT_EQ(choice.at("finish_reason"), "length");
  for (const Outcome& outcome : port.outcomes()) EXPECT_EQ(outcome.arm_id, "default");
  EXPECT_EQ(reply.at("routing").at("arm_id"), "default");
  EXPECT_EQ(port.Complete({{"prompt", "x"}}).at("routing").at("arm_id"), "new");
}

TEST_F(WaitingTest, AClientThatGoesWithoutAStreamIsCancelledWithinAStep) {
  TestPort port;
  port.model().Hold();
  {
    const RawClient client = Send(port, Body("gone", 500));
    port.model().AwaitStepBegun(1);
  }
  while (port.outcomes().empty()) {
    port.model().Allow(1);
    EXPECT_EQ(port.Get("/health").status, 200);
  }
  EXPECT_EQ(port.outcomes()[0].code, absl::StatusCode::kCancelled);
  EXPECT_TRUE(port.outcomes()[0].reached_engine);
  EXPECT_LT(port.model().counters().steps, 250);
}

TEST_F(WaitingTest, CallsWaitForMemoryAndGiveItBack) {
  TestPortOptions options;
  options.limits.max_request_memory = 64 << 20;
  TestPort port(options);
  auto held = std::make_unique<limits::RequestMemory::Hold>(port.limits().memory().Open("other"));
  held->Set(64 << 20);
  RawClient client = Send(port, Body("waits"));
  TestPort::Await([&] { return port.completions().num_waiting() == 1; });
  held.reset();
  EXPECT_EQ(client.Read().status, 200);
  TestPort::Await([&] { return port.limits().memory().used_bytes() == 0; });
}

TEST_F(WaitingTest, WhatCouldNeverFitIsRefusedAtOnce) {
  TestPortOptions options;
  options.limits.max_request_memory = 1 << 20;
  TestPort port(options);
  const Json request = {{"prompt", std::vector<std::string>(200, std::string(500, 'a'))},
                        {"echo", true},
                        {"logprobs", 20}};
  EXPECT_EQ(port.Refusal(request).status, 400);
}

TEST_F(WaitingTest, TheServerMayStopAtAnyTime) {
  for (const int steps : {0, 1, 3}) {
    TestPort port(SmallEngine());
    Fill(&port, {"a", "b"});
    port.model().Allow(steps);
    port.server().Stop();
    clients_.clear();
  }
}

}  // namespace
}  // namespace olmoe::completions
