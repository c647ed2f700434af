#include "server/text/nfc.h"

#include <unicode/normalizer2.h>
#include <unicode/uniset.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <algorithm>

#include "glog/logging.h"
#include "server/text/unicode.h"

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
// that of the longest run of marks. Cost: O(n log n) for one endless run of marks,
// linear for all else. Tested against ICU's own whole-string NFC.

namespace olmoe::text {
namespace {

struct Item {
  char32_t code;
  uint8_t combining_class;
  int change;
};

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

void AppendDecomposed(const icu::Normalizer2& nfc, char32_t c, std::vector<Item>* items) {
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
void OrderMarks(std::vector<Item>* items) {
  const auto is_starter = [](const Item& item) { return item.combining_class == 0; };
  for (auto begin = items->begin(); begin != items->end();) {
    begin = std::find_if_not(begin, items->end(), is_starter);
    const auto end = std::find_if(begin, items->end(), is_starter);
    std::stable_sort(begin, end, [](const Item& a, const Item& b) {
      return a.combining_class < b.combining_class;
    });
    begin = end;
  }
}

// Composes in place: each code point with the last starter before it, unless one
// between them has the same or a higher combining class.
void Compose(const icu::Normalizer2& nfc, std::vector<Item>* items) {
  size_t kept = 0;
  size_t starter = items->size();  // none yet
  for (const Item item : *items) {
    const bool blocked = starter >= kept || (kept - 1 > starter &&
        (*items)[kept - 1].combining_class >= item.combining_class);
    if (!blocked) {
      Item& base = (*items)[starter];
      const UChar32 composed = nfc.composePair(static_cast<UChar32>(base.code),
                                               static_cast<UChar32>(item.code));
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

void AppendItems(const std::vector<Item>& items, uint32_t* consumed, NormalizedText* result) {
  for (const Item& item : items) {
    const bool inserted = item.change > 0;
    result->origins.push_back(inserted && *consumed > 0 ? *consumed - 1 : *consumed);
    if (!inserted) *consumed += static_cast<uint32_t>(1 - item.change);
    AppendUtf8(item.code, &result->text);
  }
}

}  // namespace

// Being NFC by newer data implies being NFC by older data, so the faster unfiltered
// check will do; where it says no, the result may still equal the text.
bool IsNfc(std::string_view utf8) {
  UErrorCode status = U_ZERO_ERROR;
  const bool is_nfc = Nfc().isNormalizedUTF8(
      icu::StringPiece(utf8.data(), static_cast<int32_t>(utf8.size())), status);
  return is_nfc && U_SUCCESS(status);
}

NormalizedText NormalizeNfc(std::string_view utf8) {
  const icu::Normalizer2& nfc = ReferenceNfc();
  NormalizedText result;
  result.text.reserve(utf8.size());
  uint32_t consumed = 0;  // code points of the source
  std::vector<Item> items;
  const auto flush = [&] {
    OrderMarks(&items);
    Compose(nfc, &items);
    AppendItems(items, &consumed, &result);
    items.clear();
  };
  for (size_t position = 0; position < utf8.size();) {
    const char32_t c = NextCodePoint(utf8, &position);
    if (nfc.hasBoundaryBefore(static_cast<UChar32>(c))) flush();
    AppendDecomposed(nfc, c, &items);
  }
  flush();
  return result;
}

}  // namespace olmoe::text
