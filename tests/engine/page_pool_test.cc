#include "server/engine/page_pool.h"

#include <set>

#include "gtest/gtest.h"

namespace olmoe::engine {
namespace {

constexpr model::KvCacheShape kShape = {.page_tokens = 4, .num_pages = 10, .page_bytes = 100};

TEST(PagePoolTest, APageHoldsItsPositionsAndNoMore) {
  const PagePool pool(kShape);
  EXPECT_EQ(pool.PagesFor(1), 1);
  EXPECT_EQ(pool.PagesFor(4), 1);
  EXPECT_EQ(pool.PagesFor(5), 2);
  EXPECT_EQ(pool.PagesFor(40), 10);
}

TEST(PagePoolTest, EveryPageIsGivenOutOnce) {
  PagePool pool(kShape);
  std::set<model::PageId> seen;
  for (int pages : {3, 0, 6, 1}) {
    for (model::PageId page : pool.Take(pages)) EXPECT_TRUE(seen.insert(page).second) << page;
  }
  EXPECT_EQ(seen.size(), 10u);
  EXPECT_EQ(*seen.begin(), 0);
  EXPECT_EQ(*seen.rbegin(), 9);
  EXPECT_EQ(pool.available(), 0);
  EXPECT_EQ(pool.used(), 10);
}

TEST(PagePoolTest, PagesGivenBackAreGivenOutAgain) {
  PagePool pool(kShape);
  const auto first = pool.Take(7);
  const auto second = pool.Take(3);
  pool.GiveBack(first);
  EXPECT_EQ(pool.used(), 3);
  std::set<model::PageId> seen(second.begin(), second.end());
  for (model::PageId page : pool.Take(7)) EXPECT_TRUE(seen.insert(page).second) << page;
}

TEST(PagePoolDeathTest, GivingAPageBackTwiceDies) {
  PagePool pool(kShape);
  const auto pages = pool.Take(2);
  pool.GiveBack(pages);
  EXPECT_DEATH(pool.GiveBack(pages), "given back twice");
}

TEST(PagePoolDeathTest, TakingMoreThanAreAvailableDies) {
  PagePool pool(kShape);
  EXPECT_DEATH(pool.Take(11), "");
}

}  // namespace
}  // namespace olmoe::engine
