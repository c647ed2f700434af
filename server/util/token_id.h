#ifndef OLMOE_SERVER_UTIL_TOKEN_ID_H_
#define OLMOE_SERVER_UTIL_TOKEN_ID_H_

#include <cstdint>

namespace olmoe {

// An index into the vocabulary, 0..vocab_size-1. Negative values never reach a model.
using TokenId = int32_t;

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_TOKEN_ID_H_
