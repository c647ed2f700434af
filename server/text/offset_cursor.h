#ifndef OLMOE_SERVER_TEXT_OFFSET_CURSOR_H_
#define OLMOE_SERVER_TEXT_OFFSET_CURSOR_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "server/text/tokenizer.h"

namespace olmoe::text {

// Walks once through a piece of normalized text and tells which code points of the
// original its bytes came from. Thread-compatible; what it is given must outlive it.
class OffsetCursor {
 public:
  // `origins`: of each code point of `normalized`, the index of its source within
  // the piece; empty where they are the same. `base`: code points of the original
  // text before the piece.
  OffsetCursor(std::string_view normalized, std::span<const uint32_t> origins, uint32_t base)
      : normalized_(normalized), origins_(origins), base_(base) {}

  // The characters that the next `bytes` bytes, at least 1, are a part of.
  Offsets Take(size_t bytes);

  // Skips ahead to byte `position`.
  void MoveTo(size_t position);

 private:
  uint32_t OriginOf(uint32_t code_point) const;

  const std::string_view normalized_;
  const std::span<const uint32_t> origins_;
  const uint32_t base_;
  size_t position_ = 0;       // bytes
  uint32_t code_points_ = 0;  // that begin before position_
};

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_OFFSET_CURSOR_H_
