// Unicode normalization form C, with the way back to the original text.
#ifndef OLMOE_SERVER_TEXT_NFC_H_
#define OLMOE_SERVER_TEXT_NFC_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace olmoe::text {

// Whether well-formed `utf8` is certain to be NFC by a look at each of its characters alone.
// False for text that is not, and for text with characters that compose with some others.
bool IsCertainlyNfc(std::string_view utf8);

// Reads well-formed text and gives its NFC as the reference library computes it: code
// points newer than Unicode 9.0 are left alone. Thread-compatible; the text must outlive it.
class NfcReader {
 public:
  explicit NfcReader(std::string_view utf8) : utf8_(utf8) {}

  bool done() const { return position_ == utf8_.size(); }

  // Appends the NFC of the next stretch, some KiB of text; an endless run of marks is one
  // stretch. `origins` gets for each code point of it the index of the code point of the
  // source that it stands for (of a composed character: the first of those it was made
  // of). Either may be null; `origins` always or never. REQUIRES: not done().
  void Next(std::string* text, std::vector<uint32_t>* origins);

 private:
  size_t StretchEnd() const;
  void CountOrigins(std::string_view stretch, std::vector<uint32_t>* origins);

  const std::string_view utf8_;
  size_t position_ = 0;    // bytes
  uint32_t consumed_ = 0;  // code points of the source before; counted only for origins
};

std::string NormalizeNfc(std::string_view utf8);

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_NFC_H_
