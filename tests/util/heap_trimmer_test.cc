#include "server/util/heap_trimmer.h"

#include <atomic>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace olmoe {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OLMOE_TEST_HEAP 0  // of a sanitizer
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OLMOE_TEST_HEAP 0
#endif
#endif
#ifndef OLMOE_TEST_HEAP
#define OLMOE_TEST_HEAP 1
#endif

// Blocks of the heap that free alone leaves resident: one at the end stays in use.
std::unique_ptr<char[]> TakeAndFree(int64_t bytes) {
  constexpr size_t kBlock = 64 << 10;  // below what malloc maps by itself
  std::vector<std::unique_ptr<char[]>> blocks;
  for (int64_t taken = 0; taken < bytes; taken += kBlock) {
    blocks.push_back(std::make_unique<char[]>(kBlock));
    std::memset(blocks.back().get(), 1, kBlock);
  }
  return std::move(blocks.back());
}

TEST(HeapTrimmerTest, WhatRequestsHaveFreedGoesBackOnceNothingRuns) {
  if (!OLMOE_TEST_HEAP) GTEST_SKIP() << "the heap is a sanitizer's";
  constexpr int64_t kBytes = int64_t{256} << 20;
  std::atomic<bool> idle = false;
  std::atomic<int> asked = 0;
  HeapTrimmer trimmer({.period = absl::Milliseconds(1), .is_idle = [&] {
                         ++asked;
                         return idle.load();
                       }});
  const auto kept = TakeAndFree(kBytes);
  const int64_t grown = ResidentBytes();
  while (asked < 3) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_GT(ResidentBytes(), grown - kBytes / 2);
  idle = true;
  while (ResidentBytes() > grown - kBytes / 2) absl::SleepFor(absl::Milliseconds(1));
}

TEST(HeapTrimmerTest, NobodyIsAskedWhereNothingHasGrown) {
  std::atomic<int> asked = 0;
  {
    HeapTrimmer trimmer(
        {.period = absl::Milliseconds(1), .min_growth_bytes = int64_t{1} << 40, .is_idle = [&] {
           ++asked;
           return true;
         }});
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_EQ(asked, 0);
}

}  // namespace
}  // namespace olmoe
