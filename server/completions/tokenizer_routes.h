#ifndef OLMOE_SERVER_COMPLETIONS_TOKENIZER_ROUTES_H_
#define OLMOE_SERVER_COMPLETIONS_TOKENIZER_ROUTES_H_

#include <cstddef>
#include <vector>

#include "server/completions/call_context.h"
#include "server/http/message.h"

namespace olmoe::completions {

// Adds POST /tokenize and /detokenize and GET /tokenizer_info, with the fields of vLLM's, which
// lm-evaluation-harness's remote tokenizer asks for. `context` outlives the routes.
void AddTokenizerRoutes(const CallContext* context, size_t max_body_bytes,
                        std::vector<http::Route>* routes);

}  // namespace olmoe::completions

#endif  // OLMOE_SERVER_COMPLETIONS_TOKENIZER_ROUTES_H_
