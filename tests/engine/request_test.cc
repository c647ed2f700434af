#include "server/engine/request.h"

#include <gtest/gtest.h>

#include "tests/engine/harness.h"

namespace olmoe::engine {
namespace {

class RequestTest : public ::testing::Test {
 protected:
  Request Generate(std::vector<TokenId> prompt, int max_new_tokens) {
    GenerateWork work;
    work.prompt = std::move(prompt);
    work.max_new_tokens = max_new_tokens;
    return Make(std::move(work));
  }
  Request Score(std::vector<ScoreWindow> windows) {
    ScoreWork work;
    work.windows = std::move(windows);
    return Make(std::move(work));
  }
  void Check(const Request& request) { CheckValid(request, model_.info()); }

 private:
  Request Make(std::variant<GenerateWork, ScoreWork> work) {
    Request request;
    request.work = std::move(work);
    request.assignment.policy = PolicyOfK(0, model_.info().router_shape());
    return request;
  }
  testing::FakeModel model_{{.max_context = 16}};
};

TEST_F(RequestTest, TheLastTokenOfASequenceNeedsNoKv) {
  EXPECT_EQ(MaxKvPositions(Generate({1, 2, 3}, 1)), 3);
  EXPECT_EQ(MaxKvPositions(Generate({1, 2, 3}, 10)), 12);
  EXPECT_EQ(MaxKvPositions(Score({{.tokens = Range(1, 4), .first_scored = 1},
                                  {.tokens = Range(1, 9), .first_scored = 1},
                                  {.tokens = Range(1, 2), .first_scored = 1}})),
            8);
}

TEST_F(RequestTest, LargestSequencesAreValid) {
  Check(Generate({1}, 15));
  Check(Generate(Range(0, 15), 1));
  Check(Score({{.tokens = Range(0, 17), .first_scored = 16}}));
}

using RequestDeathTest = RequestTest;

TEST_F(RequestDeathTest, MalformedRequestsDie) {
  EXPECT_DEATH(Check(Generate({}, 1)), "prompt");
  EXPECT_DEATH(Check(Generate({1}, 0)), "max_new_tokens");
  EXPECT_DEATH(Check(Generate({1}, 16)), "max_context");
  EXPECT_DEATH(Check(Score({})), "windows");
  EXPECT_DEATH(Check(Score({{.tokens = {1, 2}, .first_scored = 0}})), "first_scored");
  EXPECT_DEATH(Check(Score({{.tokens = {1, 2}, .first_scored = 2}})), "first_scored");
  EXPECT_DEATH(Check(Score({{.tokens = Range(0, 18), .first_scored = 1}})), "max_context");
}

}  // namespace
}  // namespace olmoe::engine
