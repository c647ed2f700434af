#include "server/ops/cpu/step_memory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <new>

namespace olmoe::ops {
namespace {

TEST(HugeBuffer, IsZeroAndAlignedToTheSizeOfItsPages) {
  for (const size_t bytes : {size_t{1}, size_t{4097}, size_t{2} << 20, (size_t{5} << 20) + 3}) {
    HugeBuffer buffer(bytes);
    ASSERT_EQ(buffer.bytes(), bytes);
    const size_t alignment = bytes >= (size_t{2} << 20) ? size_t{2} << 20 : 4096;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % alignment, 0u);
    EXPECT_EQ(buffer.data()[0], std::byte{0});
    EXPECT_EQ(buffer.data()[bytes - 1], std::byte{0});
    std::memset(buffer.data(), 1, bytes);
    HugeBuffer moved = std::move(buffer);
    EXPECT_EQ(buffer.data(), nullptr);
    EXPECT_EQ(moved.data()[bytes - 1], std::byte{1});
  }
  EXPECT_EQ(HugeBuffer(0).bytes(), 0u);
  EXPECT_THROW(HugeBuffer(size_t{1} << 60), std::bad_alloc);
  EXPECT_THROW(HugeBuffer(SIZE_MAX), std::bad_alloc);
}

TEST(StepMemory, WhatIsLetGoIsHandedOutAgain) {
  StepMemory memory;
  const std::byte* first = memory.Take(10000).as<std::byte>();
  StepMemory::Block block = memory.Take(16384);
  EXPECT_EQ(block.as<std::byte>(), first);
  EXPECT_NE(memory.Take(16384).as<std::byte>(), first);
  StepMemory::Block copy = block;
  block = {};
  EXPECT_NE(memory.Take(16384).as<std::byte>(), first) << "a copy still holds it";
  copy = {};
  EXPECT_EQ(memory.Take(16384).as<std::byte>(), first);
}

TEST(StepMemory, BlocksDoNotOverlapAndAreAligned) {
  StepMemory memory;
  std::vector<StepMemory::Block> blocks;
  const size_t sizes[] = {1, 5000, 4096, 100000, 3 << 20, 64, 9 << 20, 0};
  for (size_t i = 0; i < std::size(sizes); ++i) {
    blocks.push_back(memory.Take(sizes[i]));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(blocks.back().as<std::byte>()) % 64, 0u);
    std::memset(blocks.back().as<std::byte>(), static_cast<int>(i + 1), sizes[i]);
  }
  for (size_t i = 0; i < std::size(sizes); ++i) {
    for (size_t byte = 0; byte < sizes[i]; ++byte) {
      ASSERT_EQ(blocks[i].as<std::byte>()[byte], static_cast<std::byte>(i + 1));
    }
  }
}

TEST(StepMemory, TheSameStepsAgainTakeNothingFromTheSystem) {
  StepMemory memory;
  const auto step = [&](size_t rows) {
    const StepMemory::Block x = memory.Take(rows * 8192);
    for (int layer = 0; layer < 3; ++layer) {
      const StepMemory::Block qkv = memory.Take(rows * 3 * 8192);
      const StepMemory::Block mixed = memory.Take(rows * 8192);
    }
  };
  for (const size_t rows : {1, 512, 8}) step(rows);
  const size_t taken = memory.bytes_from_system();
  for (const size_t rows : {8, 1, 512, 512}) step(rows);
  EXPECT_EQ(memory.bytes_from_system(), taken);
  EXPECT_THROW(memory.Take(SIZE_MAX), std::bad_alloc);
}

}  // namespace
}  // namespace olmoe::ops
