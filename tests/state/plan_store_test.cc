// The promises of routing::PlanStore, kept by memory and by SQLite alike.
#include "server/routing/plan_store.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/api/routing_proto.h"
#include "server/routing/memory_plan_store.h"
#include "server/state/state_store.h"
#include "tests/routing/policies.h"
#include "tests/support/temp_folder.h"

namespace olmoe::state {
namespace {

using routing::KeptAnswer;
using routing::PlanChange;
using routing::PlanRecord;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PlanStoreTest : public ::testing::TestWithParam<std::string> {
 protected:
  PlanStoreTest() {
    if (GetParam() == "Memory") {
      memory_ = std::make_unique<routing::MemoryPlanStore>();
    } else {
      state_ = StateStore::Open(folder_.path()).value();
    }
  }
  routing::PlanStore& store() {
    return memory_ == nullptr ? static_cast<routing::PlanStore&>(state_->plans()) : *memory_;
  }
  size_t max_plans() const {
    return memory_ == nullptr ? PlanTable::kMaxPlans : routing::MemoryPlanStore::kMaxPlans;
  }
  std::vector<uint64_t> Generations(uint64_t before, size_t limit) {
    std::vector<uint64_t> generations;
    const auto records = store().List(before, limit);
    EXPECT_TRUE(records.ok()) << records.status();
    for (const PlanRecord& record : *records) generations.push_back(record.generation);
    return generations;
  }

  testing::TempFolder folder_;
  std::unique_ptr<routing::MemoryPlanStore> memory_;
  std::unique_ptr<StateStore> state_;
};

PlanRecord RecordOf(uint64_t generation) {
  PlanRecord record;
  record.generation = generation;
  record.digest = absl::StrCat("digest-", generation);
  record.spec = routing::PlanOf(
      {routing::ArmOf("default", routing::PolicyOf(routing::TopKRule(4)))}, "salt", "note");
  record.source = routing::PlanSource::kPatch;
  record.activate_time = absl::FromUnixNanos(1'700'000'000'123'456'789);
  return record;
}

absl::Status Append(routing::PlanStore& store, PlanRecord record) {
  PlanChange change;
  change.plan = std::move(record);
  return store.Append(change);
}

// Every field with a value that is not its default.
PlanRecord FullRecord() {
  PlanRecord record = RecordOf(7);
  routing::BenjaminiHochberg bh = routing::Bh(0.125, "cal");
  bh.bounds.min_k = 2;
  bh.bounds.max_k = 30;
  bh.p_values.temperature = 1.5;
  routing::HigherCriticism hc;
  hc.beta = 0.25;
  hc.p_values.kind = routing::PValueKind::kOneMinusProb;
  routing::PolicySpec policy = routing::PolicyOf(
      routing::ToRule(bh), routing::Rule{hc, routing::WeightMode::kMatchTopKMass}, "full");
  policy.description = "d\xC3\xA9scription";
  policy.layer_overrides.push_back(
      routing::Override({0, 3}, routing::TopPRule(0.5), routing::TopKRule(1)));
  record.spec.arms = {routing::ArmOf("a", policy, 3, true),
                      routing::ArmOf("b", routing::PolicyOf(std::nullopt), 0)};
  record.source = routing::PlanSource::kRollback;
  record.actor = "ann";
  record.expire_time = record.activate_time + absl::Seconds(90);
  record.fallback_generation = 6;
  return record;
}

TEST_P(PlanStoreTest, APlanComesBackWithEveryField) {
  const PlanRecord in = FullRecord();
  ASSERT_TRUE(Append(store(), in).ok());
  const auto out = store().Find(7);
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(out->generation, in.generation);
  EXPECT_EQ(out->digest, in.digest);
  EXPECT_EQ(out->spec, in.spec);
  EXPECT_EQ(out->source, in.source);
  EXPECT_EQ(out->actor, in.actor);
  EXPECT_EQ(out->activate_time, in.activate_time);
  EXPECT_EQ(out->expire_time, in.expire_time);
  EXPECT_EQ(out->fallback_generation, in.fallback_generation);
}

TEST_P(PlanStoreTest, AnEmptyStoreHasNothing) {
  EXPECT_THAT(Generations(UINT64_MAX, 10), IsEmpty());
  EXPECT_EQ(store().Find(1).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(store().FindAnswer("key")->has_value());
  EXPECT_EQ(*store().FileDigest(), "");
  EXPECT_EQ(store().SetExpireTime(1, absl::Now()).code(), absl::StatusCode::kNotFound);
}

TEST_P(PlanStoreTest, ListsNewestFirstBelowAGeneration) {
  for (uint64_t generation = 1; generation <= 5; ++generation) {
    ASSERT_TRUE(Append(store(), RecordOf(generation)).ok());
  }
  EXPECT_THAT(Generations(UINT64_MAX, 2), ElementsAre(5, 4));
  EXPECT_THAT(Generations(4, 10), ElementsAre(3, 2, 1));
  EXPECT_THAT(Generations(1, 10), IsEmpty());
  EXPECT_THAT(Generations(3, 0), IsEmpty());
}

TEST_P(PlanStoreTest, TheEndOfAPlanMoves) {
  ASSERT_TRUE(Append(store(), FullRecord()).ok());
  const absl::Time end = absl::FromUnixNanos(1'800'000'000'000'000'001);
  ASSERT_TRUE(store().SetExpireTime(7, end).ok());
  EXPECT_EQ(store().Find(7)->expire_time, end);
}

TEST_P(PlanStoreTest, AnswersAndFileDigestsComeBack) {
  PlanChange change;
  routing::PatchAnswer kept;
  kept.record = FullRecord();
  kept.in_flight = 1;
  kept.previous_generation = 6;
  kept.in_flight_on_previous = 2;
  kept.changed = true;
  kept.warnings = {"one", "two"};
  kept.probe_results = {{"default", 0.5, 0.25, true, 3.5, 16}};
  change.answer = KeptAnswer{"key", "digest", kept};
  change.file_digest = "file-1";
  ASSERT_TRUE(store().Append(change).ok());
  const auto answer = store().FindAnswer("key");
  ASSERT_TRUE(answer.ok() && answer->has_value());
  EXPECT_EQ((*answer)->request_digest, "digest");
  // What comes back is told in the same words.
  EXPECT_EQ(api::ToProto((*answer)->answer).SerializeAsString(),
            api::ToProto(kept).SerializeAsString());
  EXPECT_EQ(*store().FileDigest(), "file-1");
  change = {};
  change.file_digest = "file-2";
  ASSERT_TRUE(store().Append(change).ok());
  EXPECT_EQ(*store().FileDigest(), "file-2");
}

// Plans with a time to live fall back on the newest without one.
TEST_P(PlanStoreTest, OldPlansAreForgottenButNotTheNewestThatLasts) {
  ASSERT_TRUE(Append(store(), RecordOf(1)).ok());
  ASSERT_TRUE(Append(store(), RecordOf(2)).ok());
  PlanRecord ending = RecordOf(3);
  ending.expire_time = absl::FromUnixSeconds(2'000'000'000);
  ASSERT_TRUE(Append(store(), ending).ok());
  ending.generation = 4 + max_plans();
  ASSERT_TRUE(Append(store(), ending).ok());
  if (memory_ != nullptr) {  // bounded by number, not by generation
    for (uint64_t generation = 4; generation < 4 + max_plans(); ++generation) {
      ending.generation = generation;
      ASSERT_TRUE(Append(store(), ending).ok());
    }
  }
  EXPECT_FALSE(store().Find(1).ok());
  EXPECT_TRUE(store().Find(2).ok());
  EXPECT_FALSE(store().Find(3).ok());
  EXPECT_TRUE(store().Find(4 + max_plans()).ok());
}

INSTANTIATE_TEST_SUITE_P(Stores, PlanStoreTest, ::testing::Values("Memory", "Sqlite"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace olmoe::state
