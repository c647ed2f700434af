#include "server/routing/calibration.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/routing/calibration_builder.h"
#include "server/routing/named_use.h"
#include "server/util/sha256.h"
#include "tests/routing/vector_cases.h"
#include "tests/support/test_data.h"

namespace olmoe::routing {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// ---------------------------------------------------------------- vectors

void ExpectHistogram(const LogitHistogram& histogram, const json& expected) {
  EXPECT_EQ(histogram.total(), expected.at("n").get<uint64_t>());
  EXPECT_EQ(histogram.under(), expected.at("under").get<uint64_t>());
  EXPECT_EQ(histogram.over(), expected.at("over").get<uint64_t>());
  std::vector<std::pair<int, uint64_t>> used;
  for (int bin = 0; bin < LogitHistogram::kNumBins; ++bin) {
    if (histogram.bins()[bin] > 0) used.emplace_back(bin, histogram.bins()[bin]);
  }
  EXPECT_EQ(used, (expected.at("bins").get<std::vector<std::pair<int, uint64_t>>>()));
}

// Exact doubles: every point is one division of two integers.
void ExpectTable(const LogitHistogram& histogram, const CdfTable& table, const json& expected) {
  EXPECT_EQ(table.x0, -32);
  EXPECT_EQ(table.dx, 1.0 / 64);
  ASSERT_EQ(table.survival.size(), 4097u);
  EXPECT_EQ(Sha256Hex({reinterpret_cast<const char*>(table.survival.data()), 4097 * 8}),
            expected.at("survival_sha256"));
  for (const json& point : expected.at("points")) {
    const size_t edge = point.at(0);
    uint64_t below = histogram.under();
    for (size_t bin = 0; bin < edge; ++bin) below += histogram.bins()[bin];
    EXPECT_EQ(static_cast<double>(below) / static_cast<double>(histogram.total()), point.at(1));
    EXPECT_EQ(table.survival[edge], point.at(2));
  }
}

void RunCase(const json& line) {
  SCOPED_TRACE("id " + line.at("id").dump());
  const json& expected = line.at("expected");
  const RouterShape shape{1, line.at("E"), 1, false};
  absl::StatusOr<CalibrationBuilder> builder =
      CalibrationBuilder::Create(shape, line.at("trim_top"));
  ASSERT_EQ(builder.ok(), !expected.contains("invalid"));
  if (!builder.ok()) {
    EXPECT_THAT(builder.status().message(), HasSubstr("trim_top"));
    return;
  }
  absl::Status rows;
  for (const json& row : line.at("logits")) rows.Update(builder->AddRow(0, LogitsOf(row)));
  const auto calibration = builder->Build("c");
  if (expected.contains("error")) {
    const bool no_data = expected.at("error") == "NO_DATA";
    EXPECT_EQ(rows.code(), no_data ? absl::StatusCode::kOk : absl::StatusCode::kInvalidArgument);
    if (no_data) {
      EXPECT_EQ(calibration.status().code(), absl::StatusCode::kFailedPrecondition);
    }
    return;
  }
  ASSERT_TRUE(calibration.ok()) << calibration.status();
  EXPECT_EQ((*calibration)->num_tokens(), line.at("logits").size());
  const CdfTable& table = *(*calibration)->table(0);
  ExpectHistogram(builder->layer(0), expected);
  ExpectTable(builder->layer(0), table, expected);
  const std::vector<float> probes = LogitsOf(line.at("probes"));
  for (size_t i = 0; i < probes.size(); ++i) {
    const double p = expected.at("p").at(i);
    EXPECT_NEAR(table.PValue(probes[i]), p, 1e-12 * p) << "probe " << probes[i];
  }
}

size_t RunCases(const std::string& path) {
  const std::vector<json> lines = ReadJsonLines(path);
  for (const json& line : lines) RunCase(line);
  return lines.size();
}

TEST(CalibrationBuilderTest, AgreesWithTheOracle) {
  EXPECT_EQ(RunCases(testing::SourcePath("tests/data/routing/calibration_vectors.jsonl")), 20u);
}

// ---------------------------------------------------------------- builder

CalibrationBuilder MakeBuilder(const RouterShape& shape, int trim_top) {
  return CalibrationBuilder::Create(shape, trim_top).value();
}

TEST(CalibrationBuilderTest, MergedPartsEqualTheWhole) {
  const RouterShape shape{2, 4, 2, false};
  CalibrationBuilder whole = MakeBuilder(shape, 1);
  CalibrationBuilder left = MakeBuilder(shape, 1), right = MakeBuilder(shape, 1);
  for (int token = 0; token < 50; ++token) {
    for (int layer = 0; layer < 2; ++layer) {
      std::vector<float> row;
      for (int i = 0; i < 4; ++i) row.push_back(std::sin(17.f * token + 5.f * i + layer) * 40);
      ASSERT_TRUE(whole.AddRow(layer, row).ok());
      ASSERT_TRUE((token % 3 == 0 ? left : right).AddRow(layer, row).ok());
    }
  }
  right.Merge(left);
  EXPECT_EQ(right.Build("c").value()->digest(), whole.Build("c").value()->digest());
  EXPECT_EQ(right.num_tokens(), 50u);
  EXPECT_EQ(whole.Build("c").value()->trim_top(), 1);
}

TEST(CalibrationBuilderTest, NothingOfARowWithNaNIsCounted) {
  LogitHistogram histogram;
  EXPECT_FALSE(histogram.AddRow(std::vector<float>{1, 2, std::nanf("")}, 0).ok());
  EXPECT_EQ(histogram.total(), 0u);
}

TEST(CalibrationBuilderTest, LayerWithoutRowsIsNamed) {
  CalibrationBuilder builder = MakeBuilder({2, 2, 1, false}, 0);
  ASSERT_TRUE(builder.AddRow(0, std::vector<float>{1, 2}).ok());
  EXPECT_THAT(builder.Build("c").status().message(), HasSubstr("layer 1"));
}

// ---------------------------------------------------------------- tables

std::vector<std::string> BadFields(double x0, double dx, const std::vector<double>& cdf) {
  std::vector<FieldViolation> violations;
  CheckCdf(x0, dx, cdf, "layer_cdf", &violations);
  std::vector<std::string> fields;
  for (const FieldViolation& violation : violations) fields.push_back(violation.field);
  return fields;
}

TEST(CdfTableTest, EveryBadFieldIsNamed) {
  EXPECT_THAT(BadFields(0, 1, {0, 1}), ElementsAre());
  EXPECT_THAT(BadFields(0, 1, {0.25, 0.25, 0.5}), ElementsAre());
  EXPECT_THAT(BadFields(kNaN, 0, {0}),
              ElementsAre("layer_cdf.x0", "layer_cdf.dx", "layer_cdf.cdf"));
  EXPECT_THAT(BadFields(kInfinity, -1, {}),
              ElementsAre("layer_cdf.x0", "layer_cdf.dx", "layer_cdf.cdf"));
  EXPECT_THAT(BadFields(0, kNaN, {0, 1}), ElementsAre("layer_cdf.dx"));
  EXPECT_THAT(BadFields(0, kInfinity, {0, 1}), ElementsAre("layer_cdf.dx"));
  EXPECT_THAT(BadFields(0, 1, {0.5, 0.4, 0.3}), ElementsAre("layer_cdf.cdf[1]"));
  EXPECT_THAT(BadFields(0, 1, {0, kNaN, 1}), ElementsAre("layer_cdf.cdf[1]"));
  EXPECT_THAT(BadFields(0, 1, {-1e-9, 1}), ElementsAre("layer_cdf.cdf[0]"));
  EXPECT_THAT(BadFields(0, 1, {0, 1.0000001}), ElementsAre("layer_cdf.cdf[1]"));
  EXPECT_THAT(BadFields(0, 1, std::vector<double>(65536, 0.5)), ElementsAre());
  EXPECT_THAT(BadFields(0, 1, std::vector<double>(65537, 0.5)), ElementsAre("layer_cdf.cdf"));
}

TEST(CdfTableTest, IsLinearBetweenThePointsAndConstantOutside) {
  const CdfTable table = CdfTable::FromCdf(-1, 0.5, std::vector<double>{0.25, 0.5, 0.75});
  EXPECT_EQ(table.PValue(-100), 0.75);
  EXPECT_EQ(table.PValue(-1), 0.75);
  EXPECT_EQ(table.PValue(-0.75), 0.625);
  EXPECT_EQ(table.PValue(-0.5), 0.5);
  EXPECT_EQ(table.PValue(0), 0.25);
  EXPECT_EQ(table.PValue(std::numeric_limits<float>::max()), 0.25);
  EXPECT_EQ(table.PValue(-std::numeric_limits<float>::max()), 0.75);
}

TEST(CdfTableTest, PValuesAreClampedAwayFromZero) {
  EXPECT_EQ(CdfTable::FromCdf(0, 1, std::vector<double>{0, 1}).PValue(2), 1e-12);
}

// Steps so small or so large that the grid position leaves the range of integers.
TEST(CdfTableTest, ExtremeGridsAreReadWithinTheTable) {
  const std::vector<double> cdf = {0, 0.5, 1};
  EXPECT_EQ(CdfTable::FromCdf(0, 1e-300, cdf).PValue(1), 1e-12);
  EXPECT_EQ(CdfTable::FromCdf(0, 1e-300, cdf).PValue(-1), 1);
  EXPECT_EQ(CdfTable::FromCdf(-1e308, 1e300, cdf).PValue(1), 1e-12);
  EXPECT_EQ(CdfTable::FromCdf(1e308, 1e300, cdf).PValue(1), 1);
  EXPECT_EQ(CdfTable::FromCdf(0, 1e308, cdf).PValue(1), 1);
}

// ---------------------------------------------------------------- Calibration, CalibrationSet

std::shared_ptr<const Calibration> MakeCalibration(const std::string& id,
                                                   const std::vector<double>& cdf) {
  Calibration::Options options;
  options.calibration_id = id;
  options.tables[0] = CdfTable::FromCdf(0, 1, cdf);
  return Calibration::Create(std::move(options)).value();
}

TEST(CalibrationTest, EveryBadFieldIsNamed) {
  Calibration::Options options;
  options.calibration_id = "Not a name";
  options.tables[3] = CdfTable{kNaN, 1, {1, 0.5, 0.75}};
  const absl::Status status = Calibration::Create(std::move(options)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("calibration_id"));
  EXPECT_THAT(status.message(), HasSubstr("layers[3].x0"));
  EXPECT_THAT(status.message(), HasSubstr("layers[3].cdf[2]"));
  EXPECT_FALSE(Calibration::Create({}).ok()) << "no tables";
}

TEST(CalibrationTest, DigestIsThatOfTheTablesAlone) {
  const auto a = MakeCalibration("a", {0, 0.5, 1});
  EXPECT_EQ(a->digest(), MakeCalibration("b", {0, 0.5, 1})->digest());
  EXPECT_NE(a->digest(), MakeCalibration("a", {0, 0.25, 1})->digest());
  EXPECT_EQ(a->digest().size(), 64u);
  EXPECT_EQ(a->table(1), nullptr);
  EXPECT_EQ(a->table(-1), nullptr);
}

TEST(CalibrationSetTest, ANameMeansOneCalibration) {
  CalibrationSet set;
  const auto first = MakeCalibration("a", {0, 0.5, 1});
  EXPECT_TRUE(set.Add(first).ok());
  EXPECT_TRUE(set.Add(MakeCalibration("a", {0, 0.5, 1})).ok());
  EXPECT_EQ(set.Add(MakeCalibration("a", {0, 0.25, 1})).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(set.Find("a"), first);
  EXPECT_EQ(set.Find("b"), nullptr);
  EXPECT_TRUE(set.Add(MakeCalibration("0", {0, 1})).ok());
  ASSERT_EQ(set.List().size(), 2u);
  EXPECT_EQ(set.List()[0]->calibration_id(), "0");
  EXPECT_TRUE(set.Remove("a").ok());
  EXPECT_EQ(set.Remove("a").code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(set.Add(MakeCalibration("a", {0, 0.25, 1})).ok()) << "the name is free again";
}

TEST(CalibrationSetTest, AHookThatFailsRefusesTheChange) {
  absl::Status answer = absl::UnavailableError("disk");
  int adds = 0, removes = 0;
  CalibrationSet set({.before_add =
                          [&](const Calibration& calibration) {
                            EXPECT_EQ(calibration.calibration_id(), "a");
                            EXPECT_EQ(set.Find("a"), nullptr) << "before the change";
                            ++adds;
                            return answer;
                          },
                      .before_remove =
                          [&](const std::string& id) {
                            EXPECT_NE(set.Find(id), nullptr) << "before the change";
                            ++removes;
                            return answer;
                          }});
  EXPECT_EQ(set.Add(MakeCalibration("a", {0, 1})), answer);
  EXPECT_EQ(set.Find("a"), nullptr);
  answer = absl::OkStatus();
  EXPECT_TRUE(set.Add(MakeCalibration("a", {0, 1})).ok());
  EXPECT_EQ(adds, 2);
  EXPECT_TRUE(set.Add(MakeCalibration("a", {0, 1})).ok());
  EXPECT_EQ(set.Add(MakeCalibration("a", {0, 0.5, 1})).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(adds, 2) << "nothing would change";
  answer = absl::UnavailableError("disk");
  EXPECT_EQ(set.Remove("a"), answer);
  EXPECT_NE(set.Find("a"), nullptr);
  EXPECT_EQ(set.Remove("b").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(removes, 1);
}

Rule BhRule(const std::string& calibration_id, PValueKind p_value = PValueKind::kLayerCdf) {
  BenjaminiHochberg bh;
  bh.alpha = 0.5;
  bh.p_values.kind = p_value;
  bh.p_values.calibration_id = calibration_id;
  return {bh, {}};
}

TEST(CalibrationUseTest, IsWhatTheRulesOfAPlanNeed) {
  HigherCriticism hc;
  hc.p_values.calibration_id = "b";
  PlanSpec plan;
  plan.arms.resize(3);
  plan.arms[0].policy.apply = BhRule("a");
  plan.arms[0].policy.analyze = Rule{hc, {}};
  plan.arms[1].policy.layer_overrides = {{{0}, BhRule("c"), std::nullopt},
                                         {{1}, std::nullopt, BhRule("d")}};
  plan.arms[2].policy.apply = BhRule("unused", PValueKind::kOneMinusProb);
  plan.arms[2].policy.analyze = Rule{TopK{2}, {}};
  EXPECT_THAT(CalibrationsOf(plan), ElementsAre("a", "b", "c", "d"));
  EXPECT_TRUE(CalibrationsOf(PlanSpec()).empty());
}

}  // namespace
}  // namespace olmoe::routing
