#ifndef OLMOE_TESTS_COMPLETIONS_FUZZ_BODY_H_
#define OLMOE_TESTS_COMPLETIONS_FUZZ_BODY_H_

#include <string_view>

namespace olmoe::completions {

// Parses `body` as one of POST /v1/completions. CHECKs that it is taken, and then keeps to what the
// engine is promised, or is refused with an error that a client may see.
void FuzzBody(std::string_view body);

}  // namespace olmoe::completions

#endif  // OLMOE_TESTS_COMPLETIONS_FUZZ_BODY_H_
