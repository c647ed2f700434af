#include "server/state/calibration_table.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/state/state_store.h"
#include "tests/routing/policies.h"
#include "tests/support/temp_folder.h"

namespace olmoe::state {
namespace {

using routing::Calibration;

class CalibrationTableTest : public ::testing::Test {
 protected:
  CalibrationTableTest() { Reopen(); }
  void Reopen() {
    store_.reset();
    store_ = StateStore::Open(folder_.path()).value();
  }
  CalibrationTable& table() { return store_->calibrations(); }

  testing::TempFolder folder_;
  std::unique_ptr<StateStore> store_;
};

// Values that a decimal number would lose.
std::shared_ptr<const Calibration> Odd(std::string id) {
  Calibration::Options options;
  options.calibration_id = std::move(id);
  options.num_tokens = uint64_t{1} << 40;
  options.trim_top = 8;
  options.tables[0] = {-1.0 / 3, 0.1, {1, 1 - 0x1p-53, 2.0 / 3, 0x1p-1074, 0}};
  options.tables[5] = {1e-300, 1e300, {0.5, 0.25}};
  return Calibration::Create(std::move(options)).value();
}

TEST_F(CalibrationTableTest, ACalibrationComesBackBitForBit) {
  const auto in = Odd("odd");
  ASSERT_TRUE(table().Put(*in).ok());
  ASSERT_TRUE(table().Put(*routing::CalibrationOf("another", 16)).ok());
  Reopen();
  const auto out = table().LoadAll();
  ASSERT_TRUE(out.ok()) << out.status();
  ASSERT_EQ(out->size(), 2u);
  EXPECT_EQ(out->at(0)->calibration_id(), "another");
  EXPECT_EQ(out->at(0)->num_layers(), 16);
  EXPECT_EQ(out->at(1)->digest(), in->digest());
  EXPECT_EQ(out->at(1)->num_tokens(), in->num_tokens());
  EXPECT_EQ(out->at(1)->trim_top(), in->trim_top());
  ASSERT_NE(out->at(1)->table(5), nullptr);
  EXPECT_EQ(out->at(1)->table(0)->survival, in->table(0)->survival);
  EXPECT_EQ(out->at(1)->table(5)->dx, 1e300);
}

TEST_F(CalibrationTableTest, ADeletedOneIsGoneWithItsLayers) {
  ASSERT_TRUE(table().Put(*Odd("odd")).ok());
  ASSERT_TRUE(table().Delete("odd").ok());
  ASSERT_TRUE(table().Delete("never-there").ok());
  EXPECT_TRUE(table().LoadAll()->empty());
  store_.reset();
  const auto database = Database::Open(folder_.File("state.db")).value();
  EXPECT_EQ(*database->QueryInt("SELECT count(*) FROM calibration_layers"), 0);
}

TEST_F(CalibrationTableTest, TheSameNameIsReplacedWhole) {
  ASSERT_TRUE(table().Put(*routing::CalibrationOf("cal", 16)).ok());
  ASSERT_TRUE(table().Put(*routing::CalibrationOf("cal", 2)).ok());
  const auto out = table().LoadAll();
  ASSERT_TRUE(out.ok());
  ASSERT_EQ(out->size(), 1u);
  EXPECT_EQ(out->at(0)->num_layers(), 2);
}

TEST_F(CalibrationTableTest, ADamagedTableIsDataLossAndNamed) {
  ASSERT_TRUE(table().Put(*routing::CalibrationOf("cal", 2)).ok());
  store_.reset();
  for (const char* damage : {"UPDATE calibration_layers SET x0 = x0 + 1",
                             "UPDATE calibration_layers SET survival = x'00'",
                             "DELETE FROM calibration_layers WHERE layer = 1"}) {
    {
      const auto database = Database::Open(folder_.File("state.db")).value();
      ASSERT_TRUE(database->Execute(damage).ok());
    }
    Reopen();
    const absl::Status status = table().LoadAll().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << damage;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("calibration cal"));
    ASSERT_TRUE(table().Put(*routing::CalibrationOf("cal", 2)).ok());
    store_.reset();
  }
}

}  // namespace
}  // namespace olmoe::state
