#include "server/stats/copy_on_write.h"

#include <gtest/gtest.h>

#include <vector>

namespace olmoe::stats {
namespace {

TEST(CopyOnWriteTest, WhatWasSharedStaysAsItWas) {
  CopyOnWrite<std::vector<int>> value;
  EXPECT_EQ(value.Share(), nullptr);
  value.Mutable().push_back(1);
  const auto one = value.Share();
  value.Mutable().push_back(2);
  const auto two = value.Share();
  value.Mutable().push_back(3);
  EXPECT_EQ(*one, (std::vector<int>{1}));
  EXPECT_EQ(*two, (std::vector<int>{1, 2}));
  EXPECT_EQ(*value.get(), (std::vector<int>{1, 2, 3}));
}

TEST(CopyOnWriteTest, OnlyTheFirstChangeAfterAReadingCopies) {
  CopyOnWrite<int> value;
  value.Mutable() = 1;
  const int* const own = value.get();
  value.Mutable() = 2;
  EXPECT_EQ(value.get(), own) << "nobody has read it";
  const auto shared = value.Share();
  EXPECT_EQ(shared.get(), own) << "reading copies nothing";
  value.Mutable() = 3;
  const int* const copy = value.get();
  EXPECT_NE(copy, own);
  value.Mutable() = 4;
  EXPECT_EQ(value.get(), copy);
}

}  // namespace
}  // namespace olmoe::stats
