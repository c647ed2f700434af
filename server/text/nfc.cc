#include "server/text/nfc.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <deque>

#include "glog/logging.h"
#include "server/util/utf8.h"

// ICU could normalize the whole string, but not say which code point of the source
// each code point of the result is aligned with in the reference library's sense.
// So the three steps of the definition (Unicode Standard Annex #15) are spelled out
// with ICU's data: decompose, order the marks, compose. Every step carries a count
// along, `change`: 1 for a code point that was inserted (the second and later ones
// of a decomposition), 0 for one that replaces one of the source, -n for one after
// which n of the source are gone. Read from the left, the counts tell how much of
// the source each code point consumes, hence where it came from:
//
//   e U+0323 U+0301        e+0, U+0323+0, U+0301+0  ->  U+1EB9-1, U+0301+0
//   origins                                             0         2
//
// Text is cut where no step can look across (ICU's "boundary before"), so memory is
// that of a stretch or of the longest run of marks. Cost: O(n log n) for one endless run
// of marks, where ICU's own functions take O(n^2); linear for all else. Most stretches
// of most texts are NFC already and are only looked at. Tested against ICU's own
// whole-string NFC.

namespace olmoe::text {
namespace {

constexpr size_t kStretchBytes = 4 << 10;

// Below it every character is NFC, and no character composes with one before it.
constexpr char32_t kFirstMark = 0x300;
// Below it no character decomposes.
constexpr char32_t kFirstDecomposable = 0xC0;

// Small, because a run of marks may be as long as the text. No character is made of more
// than four, so a change is between -3 and 1.
struct Item {
  char32_t code : 21;
  uint32_t combining_class : 8;
  int change : 3;
};
static_assert(sizeof(Item) == 4);
using Items = std::deque<Item>;  // grows without a copy

const icu::Normalizer2& Nfc() {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
  CHECK(U_SUCCESS(status)) << "ICU has no NFC data: " << u_errorName(status);
  return *nfc;
}

// NFC in which everything newer than Unicode 9.0 is inert. By the normalization
// stability policy that is exactly the NFC of 9.0, with any later data.
const icu::Normalizer2& ReferenceNfc() {
  static const icu::Normalizer2* const filtered = [] {
    UErrorCode status = U_ZERO_ERROR;
    auto* known = new icu::UnicodeSet(u"[:age=9.0:]", status);
    CHECK(U_SUCCESS(status)) << "ICU has no age data: " << u_errorName(status);
    return new icu::FilteredNormalizer2(Nfc(), *known->freeze());
  }();
  return *filtered;
}

void AppendDecomposed(const icu::Normalizer2& nfc, char32_t c, Items* items) {
  if (c < kFirstDecomposable) return items->push_back({c, 0, 0});
  icu::UnicodeString decomposed;
  if (!nfc.getDecomposition(static_cast<UChar32>(c), decomposed)) {
    items->push_back({c, nfc.getCombiningClass(static_cast<UChar32>(c)), 0});
    return;
  }
  for (int32_t i = 0; i < decomposed.length(); i = decomposed.moveIndex32(i, 1)) {
    const UChar32 part = decomposed.char32At(i);
    items->push_back({static_cast<char32_t>(part), nfc.getCombiningClass(part), i == 0 ? 0 : 1});
  }
}

// Stable order by combining class within every run of marks.
void OrderMarks(Items* items) {
  const auto is_starter = [](const Item& item) { return item.combining_class == 0; };
  for (auto begin = items->begin(); begin != items->end();) {
    begin = std::find_if_not(begin, items->end(), is_starter);
    const auto end = std::find_if(begin, items->end(), is_starter);
    const auto is_before = [](const Item& a, const Item& b) {
      return a.combining_class < b.combining_class;
    };
    if (!std::is_sorted(begin, end, is_before)) std::stable_sort(begin, end, is_before);
    begin = end;
  }
}

// Composes in place: each code point with the last starter before it, unless one
// between them has the same or a higher combining class.
void Compose(const icu::Normalizer2& nfc, Items* items) {
  size_t kept = 0;
  size_t starter = items->size();  // none yet
  for (const Item item : *items) {
    const bool blocked =
        starter >= kept ||
        (kept - 1 > starter && (*items)[kept - 1].combining_class >= item.combining_class);
    if (!blocked) {
      Item& base = (*items)[starter];
      const UChar32 composed =
          nfc.composePair(static_cast<UChar32>(base.code), static_cast<UChar32>(item.code));
      if (composed >= 0) {
        base.code = static_cast<char32_t>(composed);
        base.change += item.change - 1;
        continue;
      }
    }
    if (item.combining_class == 0) starter = kept;
    (*items)[kept++] = item;
  }
  items->resize(kept);
}

void AppendUtf8(char32_t c, std::string* text) {
  char bytes[U8_MAX_LENGTH];
  int length = 0;
  U8_APPEND_UNSAFE(bytes, length, c);
  text->append(bytes, length);
}

void AppendItems(const Items& items, std::string* text) {
  for (const Item& item : items) AppendUtf8(item.code, text);
}

void AppendOrigins(const Items& items, uint32_t* consumed, std::vector<uint32_t>* origins) {
  // An endless run is alone in its stretch: its size is known, so nothing need be copied.
  if (items.size() > kStretchBytes) origins->reserve(origins->size() + items.size());
  for (const Item& item : items) {
    const bool inserted = item.change > 0;
    origins->push_back(inserted && *consumed > 0 ? *consumed - 1 : *consumed);
    if (!inserted) *consumed += static_cast<uint32_t>(1 - item.change);
  }
}

bool HasBoundaryBefore(const icu::Normalizer2& nfc, char32_t c) {
  return c < kFirstMark || nfc.hasBoundaryBefore(static_cast<UChar32>(c));
}

}  // namespace

// The quick check of Annex #15, with ICU's newest data: being NFC by newer data implies
// being NFC by older data.
bool IsCertainlyNfc(std::string_view utf8) {
  uint8_t last_class = 0;
  for (size_t position = 0; position < utf8.size();) {
    const size_t ascii = AsciiPrefix(utf8.substr(position));
    position += ascii;
    if (ascii > 0) last_class = 0;
    if (position == utf8.size()) break;
    const char32_t c = NextCodePoint(utf8, &position);
    if (c < kFirstMark) {
      last_class = 0;
      continue;
    }
    if (u_getIntPropertyValue(static_cast<UChar32>(c), UCHAR_NFC_QUICK_CHECK) != UNORM_YES) {
      return false;
    }
    const uint8_t combining_class = u_getCombiningClass(static_cast<UChar32>(c));
    if (combining_class != 0 && last_class > combining_class) return false;
    last_class = combining_class;
  }
  return true;
}

size_t NfcReader::StretchEnd() const {
  if (utf8_.size() - position_ <= kStretchBytes) return utf8_.size();
  const icu::Normalizer2& nfc = ReferenceNfc();
  size_t end = position_ + kStretchBytes;
  while (end < utf8_.size() && IsContinuationByte(utf8_[end])) ++end;
  for (size_t next = end; end < utf8_.size(); end = next) {
    if (HasBoundaryBefore(nfc, NextCodePoint(utf8_, &next))) break;
  }
  return end;
}

void NfcReader::CountOrigins(std::string_view stretch, std::vector<uint32_t>* origins) {
  for (size_t count = CountCodePoints(stretch); count > 0; --count) {
    origins->push_back(consumed_++);
  }
}

void NfcReader::Next(std::string* text, std::vector<uint32_t>* origins) {
  const std::string_view stretch = utf8_.substr(position_, StretchEnd() - position_);
  position_ += stretch.size();
  if (IsCertainlyNfc(stretch)) {
    if (text != nullptr) text->append(stretch);
    if (origins != nullptr) CountOrigins(stretch, origins);
    return;
  }
  const icu::Normalizer2& nfc = ReferenceNfc();
  Items items;  // since the last boundary
  const auto flush = [&] {
    OrderMarks(&items);
    Compose(nfc, &items);
    if (text != nullptr) AppendItems(items, text);
    if (origins != nullptr) AppendOrigins(items, &consumed_, origins);
    items.clear();
  };
  for (size_t position = 0; position < stretch.size();) {
    const char32_t c = NextCodePoint(stretch, &position);
    if (HasBoundaryBefore(nfc, c)) flush();
    AppendDecomposed(nfc, c, &items);
  }
  flush();
}

std::string NormalizeNfc(std::string_view utf8) {
  std::string text;
  for (NfcReader reader(utf8); !reader.done();) reader.Next(&text, nullptr);
  return text;
}

}  // namespace olmoe::text
