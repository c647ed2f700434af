#ifndef OLMOE_SERVER_TEXT_OFFSET_CURSOR_H_
#define OLMOE_SERVER_TEXT_OFFSET_CURSOR_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "server/text/nfc.h"
#include "server/text/tokenizer.h"

namespace olmoe::text {

// Walks once through a piece of normalized text and tells which code points of the
// original its bytes came from. Thread-compatible; what it is given must outlive it.
class OffsetCursor {
 public:
  // `source`: reads the piece that `normalized` was made of; none where they are the same.
  // `base`: code points of the original text before the piece.
  OffsetCursor(std::string_view normalized, std::optional<NfcReader> source, uint32_t base)
      : normalized_(normalized), base_(base), source_(source) {}

  // The characters that the next `bytes` bytes, at least 1, are a part of.
  Offsets Take(size_t bytes);

  // Skips ahead to byte `position`.
  void MoveTo(size_t position);

  // Code points that begin before the position.
  uint32_t code_points() const { return code_points_; }

 private:
  // Index of the source of a code point of the piece. Never asked for an earlier one than
  // the last time.
  uint32_t OriginOf(uint32_t code_point);

  const std::string_view normalized_;
  const uint32_t base_;
  std::optional<NfcReader> source_;
  // Of the code points from first_origin_ on: normalizing again, a stretch at a time, takes
  // less than four bytes for each code point of a large text.
  std::vector<uint32_t> origins_;
  uint32_t first_origin_ = 0;
  size_t position_ = 0;       // bytes
  uint32_t code_points_ = 0;  // that begin before position_
};

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_OFFSET_CURSOR_H_
