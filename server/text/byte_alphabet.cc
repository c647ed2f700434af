#include "server/text/byte_alphabet.h"

#include <array>

#include "server/util/utf8.h"

namespace olmoe::text {
namespace {

constexpr char32_t kFirstShifted = 0x100;
constexpr int kShifted = 68;

constexpr bool StandsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

// The bytes that kFirstShifted, kFirstShifted + 1, ... stand for.
constexpr std::array<uint8_t, kShifted> ShiftedBytes() {
  std::array<uint8_t, kShifted> bytes{};
  int count = 0;
  for (int byte = 0; byte < 256; ++byte) {
    if (!StandsForItself(byte)) bytes[count++] = static_cast<uint8_t>(byte);
  }
  return bytes;
}
constexpr std::array<uint8_t, kShifted> kShiftedBytes = ShiftedBytes();

std::optional<uint8_t> ByteOf(char32_t c) {
  if (c < kFirstShifted && StandsForItself(static_cast<int>(c))) return static_cast<uint8_t>(c);
  if (c >= kFirstShifted && c < kFirstShifted + kShifted) return kShiftedBytes[c - kFirstShifted];
  return std::nullopt;
}

}  // namespace

std::string AlphabetCharacter(uint8_t byte) {
  char32_t c = byte;
  if (!StandsForItself(byte)) {
    c = kFirstShifted;
    while (kShiftedBytes[c - kFirstShifted] != byte) ++c;
  }
  if (c < 0x80) return std::string(1, static_cast<char>(c));
  return {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
}

std::optional<std::string> BytesFromAlphabet(std::string_view utf8) {
  std::string bytes;
  for (size_t position = 0; position < utf8.size();) {
    const std::optional<uint8_t> byte = ByteOf(NextCodePoint(utf8, &position));
    if (!byte.has_value()) return std::nullopt;
    bytes += static_cast<char>(*byte);
  }
  return bytes;
}

}  // namespace olmoe::text
