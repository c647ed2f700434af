// What is read of traces.
#include "client/eval/traced.h"

#include <memory>
#include <string>
#include <vector>

#include "client/notation/policy_spec.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"
#include "tests/client/traced_result.h"

namespace olmoe::client::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint32_t kLayers = 2, kExperts = 4;

v1::GetModelInfoResponse Model() {
  v1::GetModelInfoResponse model;
  model.set_num_layers(kLayers);
  model.set_num_experts(kExperts);
  model.set_default_top_k(2);
  model.set_max_context(4);
  return model;
}

// Rows in which experts 0 to k - 1 ran, and whose logits fall from 0 on.
v1::ScoreResult Traced(uint32_t rows, uint32_t k) {
  v1::TraceOptions asked;
  asked.set_logits(true);
  v1::ScoreResult result;
  AddTrace(rows, k, Model(), asked, &result);
  result.set_token_count(rows);
  return result;
}

TEST(CountExperts, SumsOverItemsByLayer) {
  v1::ScoreResponse response;
  *response.add_results() = Traced(3, 1);
  *response.add_results() = Traced(2, 3);
  ExpertCounts counts(kLayers * kExperts);
  ASSERT_TRUE(CountExperts(response, ShapeOf(Model()), &counts).ok());
  EXPECT_THAT(counts, ElementsAre(5, 2, 2, 0, 5, 2, 2, 0));
}

TEST(CountExperts, TracesThatAreNotWholeAreRefused) {
  const auto refused = [](const auto& spoil) {
    v1::ScoreResponse response;
    *response.add_results() = Traced(2, 2);
    spoil(*response.mutable_results(0)->mutable_trace());
    ExpertCounts counts(kLayers * kExperts);
    return CountExperts(response, ShapeOf(Model()), &counts).code() == absl::StatusCode::kInternal;
  };
  EXPECT_FALSE(refused([](v1::RoutingTrace&) {}));
  EXPECT_TRUE(refused([](v1::RoutingTrace& trace) { trace.Clear(); }));
  EXPECT_TRUE(refused([](v1::RoutingTrace& trace) { trace.mutable_experts()->pop_back(); }));
  EXPECT_TRUE(refused([](v1::RoutingTrace& trace) { trace.mutable_counts()->pop_back(); }));
  EXPECT_TRUE(refused([](v1::RoutingTrace& trace) { trace.mutable_logits()->pop_back(); }));
  EXPECT_TRUE(refused([](v1::RoutingTrace& trace) { trace.set_num_layers(3); }));
  EXPECT_TRUE(refused([](v1::RoutingTrace& trace) { trace.mutable_experts()->back() = 4; }));
  EXPECT_TRUE(refused([](v1::RoutingTrace& trace) { trace.mutable_experts()->back() = -1; }));
}

TEST(Place, OfAContinuationIsBehindItsContext) {
  v1::ScoreResult result = Traced(5, 1);
  result.set_token_count(2);  // after four tokens of context; the second is not run
  std::vector<bool> late;
  for (size_t row = 0; row < 5; ++row) {
    const routing::RowPlace place = PlaceOfRow(v1::ScoreItem(), result, 100, row);
    EXPECT_EQ(place.position, row);
    late.push_back(place.late);
  }
  EXPECT_THAT(late, ElementsAre(false, false, false, false, true));
}

// Ten tokens in windows of four: END 0 1 2, 3 4 5 6, and 5 6 7 8 of which 5 and 6 are repeated.
TEST(Place, OfALongTextIsThatInItsWindow) {
  v1::ScoreItem item;
  item.set_rolling(true);
  const v1::ScoreResult result = Traced(10, 1);
  std::vector<uint64_t> positions;
  std::vector<bool> late;
  for (size_t row = 0; row < 10; ++row) {
    const routing::RowPlace place = PlaceOfRow(item, result, 4, row);
    positions.push_back(place.position);
    late.push_back(place.late);
  }
  EXPECT_THAT(positions, ElementsAre(0, 1, 2, 3, 0, 1, 2, 3, 2, 3));
  EXPECT_THAT(late, ElementsAre(false, true, true, true, true, true, true, true, true, true));
}

class AnalyzerTest : public ::testing::Test {
 protected:
  AnalyzerTest()
      : rpc_({.server = server_.address(), .admin = server_.address(), .credentials = {}}) {}

  absl::StatusOr<std::shared_ptr<Analyzer>> Create(const std::string& spec) {
    return Analyzer::Create(*notation::ParsePolicySpec(spec), Model(), rpc_);
  }
  // One item of five rows, of which the last two are late.
  UnitResult Analyze(const std::string& spec, uint32_t k) {
    v1::ScoreRequest request;
    request.add_items();
    v1::ScoreResponse response;
    *response.add_results() = Traced(5, k);
    response.mutable_results(0)->set_token_count(3);
    UnitResult result;
    const auto analyzer = Create(spec);
    EXPECT_TRUE(analyzer.ok()) << analyzer.status();
    EXPECT_TRUE((*analyzer)->Add(request, response, &result).ok());
    return result;
  }

  FakeServer server_;
  transport::RpcClient rpc_;
};

TEST_F(AnalyzerTest, CountsTheRuleAndWhatItShares) {
  const UnitResult result = Analyze("top-k=3,analyze", 2);
  EXPECT_EQ(result.analyzed_slots, 10u);
  EXPECT_EQ(result.AnalyzedExperts(), 3);
  EXPECT_EQ(result.AnalyzedOverlap(), 2.0 / 3);
  const UnitResult banned = Analyze("top-k=2,ban=0,analyze", 2);  // 1 and 2 instead of 0 and 1
  EXPECT_EQ(banned.AnalyzedExperts(), 2);
  EXPECT_EQ(banned.AnalyzedOverlap(), 1.0 / 3);
}

TEST_F(AnalyzerTest, ALayerWithoutAnalyzedRuleDoesNotCount) {
  const UnitResult result = Analyze("top-k=1/top-k=4,layers=1,analyze", 1);
  EXPECT_EQ(result.analyzed_slots, 5u);
  EXPECT_EQ(result.AnalyzedExperts(), 4);
}

TEST_F(AnalyzerTest, KnowsPlaces) {
  const UnitResult result = Analyze(
      "keep=\"rank == 1 || decode && rank == 2 || position == 0 && layer == 1 && rank <= "
      "4\",analyze",
      1);
  EXPECT_EQ(result.analyzed, 10u + 2 * 2 + 3);
}

TEST_F(AnalyzerTest, OfAPolicyThatAnalyzesNothingThereIsNone) {
  const auto analyzer = Create("top-k=1/top-k=2,layers=1/top-k=3,decode");
  ASSERT_TRUE(analyzer.ok());
  EXPECT_EQ(*analyzer, nullptr);
}

TEST_F(AnalyzerTest, FetchesTheTablesOfItsCalibration) {
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    v1::LayerCdf& cdf = server_.calibration_layers.emplace_back();
    cdf.set_layer(layer);
    cdf.set_x0(-4);
    cdf.set_dx(4);
    // p = -logit / 4, so with alpha 0.5 and logits 0, -1, -2, -3: 0, 0.25, 0.5, 0.75.
    for (const double value : {0.0, 1.0}) cdf.add_cdf(value);
  }
  const UnitResult result = Analyze("native/bh=0.5,calibration=c1,analyze", 2);
  EXPECT_EQ(result.AnalyzedExperts(), 2);
  EXPECT_EQ(result.AnalyzedOverlap(), 1);
}

TEST_F(AnalyzerTest, ACalibrationThatCannotBeHadIsNamed) {
  server_.failure = absl::PermissionDeniedError("not you");
  const absl::Status status = Create("native/bh=0.5,calibration=c1,analyze").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(status.message()), HasSubstr("calibration c1, which the analyzed rule"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("admin port: not you"));
}

}  // namespace
}  // namespace olmoe::client::eval
