#include "server/text/unicode.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <iterator>

namespace olmoe::text {
namespace {

struct ClassRange {
  char32_t first;
  char32_t last;
  CharClass char_class;
};

// Letters and numbers that Unicode 15.1 and 16.0 added (DerivedAge.txt and
// DerivedGeneralCategory.txt of 16.0): ICU 72 has Unicode 15.0. Only consulted for
// code points that ICU does not know, so a newer ICU makes it idle. Ascending.
constexpr ClassRange kNewerThanIcu[] = {
    {0x1C89, 0x1C8A, CharClass::kLetter},  // Cyrillic
    {0xA7CB, 0xA7CD, CharClass::kLetter},  // Latin
    {0xA7DA, 0xA7DC, CharClass::kLetter},
    {0x105C0, 0x105F3, CharClass::kLetter},  // Todhri
    {0x10D40, 0x10D49, CharClass::kNumber},  // Garay
    {0x10D4A, 0x10D65, CharClass::kLetter},
    {0x10D6F, 0x10D85, CharClass::kLetter},
    {0x10EC2, 0x10EC4, CharClass::kLetter},  // Arabic
    {0x11380, 0x11389, CharClass::kLetter},  // Tulu-Tigalari
    {0x1138B, 0x1138B, CharClass::kLetter},
    {0x1138E, 0x1138E, CharClass::kLetter},
    {0x11390, 0x113B5, CharClass::kLetter},
    {0x113B7, 0x113B7, CharClass::kLetter},
    {0x113D1, 0x113D1, CharClass::kLetter},
    {0x113D3, 0x113D3, CharClass::kLetter},
    {0x116D0, 0x116E3, CharClass::kNumber},  // Myanmar
    {0x11BC0, 0x11BE0, CharClass::kLetter},  // Sunuwar
    {0x11BF0, 0x11BF9, CharClass::kNumber},
    {0x13460, 0x143FA, CharClass::kLetter},  // Egyptian hieroglyphs
    {0x16100, 0x1611D, CharClass::kLetter},  // Gurung Khema
    {0x16130, 0x16139, CharClass::kNumber},
    {0x16D40, 0x16D6C, CharClass::kLetter},  // Kirat Rai
    {0x16D70, 0x16D79, CharClass::kNumber},
    {0x18CFF, 0x18CFF, CharClass::kLetter},  // Khitan
    {0x1CCF0, 0x1CCF9, CharClass::kNumber},  // outlined digits
    {0x1E5D0, 0x1E5ED, CharClass::kLetter},  // Ol Onal
    {0x1E5F0, 0x1E5F0, CharClass::kLetter},
    {0x1E5F1, 0x1E5FA, CharClass::kNumber},
    {0x2EBF0, 0x2EE5D, CharClass::kLetter},  // CJK extension I, Unicode 15.1
};

struct Range {
  char32_t first;
  char32_t last;
};

// Word characters that 15.1 and 16.0 added and that are neither letters nor numbers: marks.
constexpr Range kNewerMarks[] = {
    {0x897, 0x897},     {0x10D69, 0x10D6D}, {0x10EFC, 0x10EFC}, {0x113B8, 0x113C0},
    {0x113C2, 0x113C2}, {0x113C5, 0x113C5}, {0x113C7, 0x113CA}, {0x113CC, 0x113D0},
    {0x113D2, 0x113D2}, {0x113E1, 0x113E2}, {0x11F5A, 0x11F5A}, {0x1611E, 0x1612F},
    {0x1E5EE, 0x1E5EF},
};

CharClass ClassOfUnassigned(char32_t c) {
  const ClassRange* range =
      std::lower_bound(std::begin(kNewerThanIcu), std::end(kNewerThanIcu), c,
                       [](const ClassRange& r, char32_t code) { return r.last < code; });
  const bool found = range != std::end(kNewerThanIcu) && range->first <= c;
  return found ? range->char_class : CharClass::kOther;
}

}  // namespace

CharClass ClassOf(char32_t c) {
  const uint32_t category = U_GET_GC_MASK(c);
  if ((category & U_GC_L_MASK) != 0) return CharClass::kLetter;
  if ((category & U_GC_N_MASK) != 0) return CharClass::kNumber;
  if (IsWhiteSpace(c)) return CharClass::kSpace;
  return (category & U_GC_CN_MASK) != 0 ? ClassOfUnassigned(c) : CharClass::kOther;
}

bool IsWordCharacter(char32_t c) {
  constexpr uint32_t kWordMask = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  const UChar32 code = static_cast<UChar32>(c);
  const uint32_t category = U_GET_GC_MASK(code);
  if ((category & kWordMask) != 0 || u_hasBinaryProperty(code, UCHAR_ALPHABETIC) ||
      u_hasBinaryProperty(code, UCHAR_JOIN_CONTROL)) {
    return true;
  }
  return (category & U_GC_CN_MASK) != 0 &&
         (ClassOfUnassigned(c) != CharClass::kOther ||
          std::any_of(std::begin(kNewerMarks), std::end(kNewerMarks),
                      [c](const Range& range) { return range.first <= c && c <= range.last; }));
}

bool IsWhiteSpace(char32_t c) { return u_isUWhiteSpace(static_cast<UChar32>(c)); }

}  // namespace olmoe::text
