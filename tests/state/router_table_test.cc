#include "server/state/router_table.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/state/state_store.h"
#include "tests/support/temp_folder.h"

namespace olmoe::state {
namespace {

using routing::Router;
using routing::RouterWeights;

class RouterTableTest : public ::testing::Test {
 protected:
  RouterTableTest() { Reopen(); }
  void Reopen() {
    store_.reset();
    store_ = StateStore::Open(folder_.path()).value();
  }
  RouterTable& table() { return store_->routers(); }
  void Damage(const char* sql) {
    store_.reset();
    {
      const auto database = Database::Open(folder_.File("state.db")).value();
      ASSERT_TRUE(database->Execute(sql).ok());
    }
    Reopen();
  }

  testing::TempFolder folder_;
  std::unique_ptr<StateStore> store_;
};

// A layer in each form.
std::shared_ptr<const Router> Mixed(std::string id) {
  Router::Options options{.router_id = std::move(id), .layers = {}};
  options.layers.emplace(0, RouterWeights(std::vector<float>{0.1F, -0.0F, 0x1p-149F}));
  options.layers.emplace(5, RouterWeights(std::vector<float>{1, 2, -3}));
  return Router::Create(std::move(options)).value();
}

TEST_F(RouterTableTest, ARouterComesBackBitForBit) {
  const auto in = Mixed("mixed");
  ASSERT_TRUE(table().Put(*in).ok());
  ASSERT_TRUE(table().Put(*Mixed("another")).ok());
  Reopen();
  const auto out = table().LoadAll();
  ASSERT_TRUE(out.ok()) << out.status();
  ASSERT_EQ(out->size(), 2u);
  EXPECT_EQ(out->at(0)->router_id(), "another");
  EXPECT_EQ(out->at(1)->digest(), in->digest());
  ASSERT_EQ(out->at(1)->layers().size(), 2u);
  for (const int layer : {0, 5}) {
    EXPECT_EQ(out->at(1)->layers().at(layer).bytes(), in->layers().at(layer).bytes());
    EXPECT_EQ(out->at(1)->layers().at(layer).dtype(), in->layers().at(layer).dtype());
  }
}

TEST_F(RouterTableTest, ADeletedOneIsGoneWithItsLayers) {
  ASSERT_TRUE(table().Put(*Mixed("mixed")).ok());
  ASSERT_TRUE(table().Delete("mixed").ok());
  ASSERT_TRUE(table().Delete("never-there").ok());
  EXPECT_TRUE(table().LoadAll()->empty());
  store_.reset();
  const auto database = Database::Open(folder_.File("state.db")).value();
  EXPECT_EQ(*database->QueryInt("SELECT count(*) FROM router_layers"), 0);
}

TEST_F(RouterTableTest, ADamagedOneIsDataLossAndNamed) {
  for (const char* damage :
       {"UPDATE router_layers SET weights = x'00' WHERE layer = 5",
        "UPDATE router_layers SET weights = x'0000'", "UPDATE router_layers SET dtype = 'F64'",
        "UPDATE router_layers SET dtype = 'no such'",
        "UPDATE router_layers SET layer = 7 "
        "WHERE layer = 5",
        "DELETE FROM router_layers WHERE layer = 0", "DELETE FROM router_layers"}) {
    ASSERT_TRUE(table().Put(*Mixed("mixed")).ok());
    Damage(damage);
    const absl::Status status = table().LoadAll().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << damage;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("router mixed"));
  }
}

// A state directory of the version before routers.
TEST_F(RouterTableTest, AFileOfVersionOneGetsTheTables) {
  Damage("DROP TABLE router_layers; DROP TABLE routers; PRAGMA user_version = 1");
  ASSERT_TRUE(table().Put(*Mixed("mixed")).ok());
  Reopen();
  EXPECT_EQ(table().LoadAll()->size(), 1u);
}

}  // namespace
}  // namespace olmoe::state
