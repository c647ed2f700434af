#ifndef OLMOE_CLIENT_TRANSPORT_PREFIX_TOKEN_H_
#define OLMOE_CLIENT_TRANSPORT_PREFIX_TOKEN_H_

#include <cstdint>

#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::transport {

// What the server puts before a text that has no context: eos, or pad where eos lies
// outside the vocabulary, or 0 where both do.
inline uint32_t PrefixToken(const v1::GetModelInfoResponse& model) {
  for (const uint32_t id : {model.eos_token_id(), model.pad_token_id()}) {
    if (id < model.vocab_size()) return id;
  }
  return 0;
}

}  // namespace olmoe::client::transport

#endif  // OLMOE_CLIENT_TRANSPORT_PREFIX_TOKEN_H_
