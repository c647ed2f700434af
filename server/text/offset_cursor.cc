#include "server/text/offset_cursor.h"

#include "glog/logging.h"
#include "server/util/utf8.h"

namespace olmoe::text {

Offsets OffsetCursor::Take(size_t bytes) {
  DCHECK_LE(position_ + bytes, normalized_.size());
  const bool inside_character = IsContinuationByte(normalized_[position_]);
  const uint32_t first = inside_character ? code_points_ - 1 : code_points_;
  MoveTo(position_ + bytes);
  const uint32_t start = base_ + OriginOf(first);
  return {start, base_ + OriginOf(code_points_ - 1) + 1};
}

void OffsetCursor::MoveTo(size_t position) {
  code_points_ +=
      static_cast<uint32_t>(CountCodePoints(normalized_.substr(position_, position - position_)));
  position_ = position;
}

uint32_t OffsetCursor::OriginOf(uint32_t code_point) {
  if (!source_) return code_point;
  while (code_point - first_origin_ >= origins_.size()) {
    first_origin_ += static_cast<uint32_t>(origins_.size());
    origins_.clear();
    source_->Next(nullptr, &origins_);
  }
  return origins_[code_point - first_origin_];
}

}  // namespace olmoe::text
