#ifndef OLMOE_SERVER_TEXT_TOKENIZER_CONFIG_H_
#define OLMOE_SERVER_TEXT_TOKENIZER_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "server/text/tokenizer_json.h"

namespace olmoe::text {

// What a tokenizer_config.json changes of a tokenizer.json, as AutoTokenizer of transformers 5 does
// it for an OLMoE model. The class that it chooses, GPTNeoXTokenizer unless the file names another,
// does not use the template of tokenizer.json: no special tokens are added around a text, whatever
// add_bos_token and add_eos_token say. Every other class uses the template. Without the file the
// template stays, too.
//
// Errors: INVALID_ARGUMENT naming the file and what of it is malformed. No file is no error.
absl::Status ApplyTokenizerConfig(const std::string& path, TokenizerSpec* spec);

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_TOKENIZER_CONFIG_H_
