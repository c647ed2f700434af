// A target of libFuzzer; see CONTRIBUTING.md.
#include <cstddef>
#include <cstdint>

#include "tests/completions/fuzz_body.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  olmoe::completions::FuzzBody({reinterpret_cast<const char*>(data), size});
  return 0;
}
