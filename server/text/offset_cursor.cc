#include "server/text/offset_cursor.h"

#include "glog/logging.h"
#include "server/text/unicode.h"

namespace olmoe::text {

Offsets OffsetCursor::Take(size_t bytes) {
  DCHECK_LE(position_ + bytes, normalized_.size());
  const bool inside_character = IsContinuationByte(normalized_[position_]);
  const uint32_t first = inside_character ? code_points_ - 1 : code_points_;
  MoveTo(position_ + bytes);
  return {base_ + OriginOf(first), base_ + OriginOf(code_points_ - 1) + 1};
}

void OffsetCursor::MoveTo(size_t position) {
  code_points_ += static_cast<uint32_t>(
      CountCodePoints(normalized_.substr(position_, position - position_)));
  position_ = position;
}

uint32_t OffsetCursor::OriginOf(uint32_t code_point) const {
  return origins_.empty() ? code_point : origins_[code_point];
}

}  // namespace olmoe::text
