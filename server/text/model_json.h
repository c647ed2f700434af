#ifndef OLMOE_SERVER_TEXT_MODEL_JSON_H_
#define OLMOE_SERVER_TEXT_MODEL_JSON_H_

#include "server/text/json_cursor.h"
#include "server/text/tokenizer_json.h"

namespace olmoe::text {

// The "model" of a tokenizer.json: BPE without dropout, unknown token, prefix,
// suffix or byte fallback. Mistakes go to the cursor's Status.
BpeModelSpec ReadBpeModel(const JsonCursor& model);

}  // namespace olmoe::text

#endif  // OLMOE_SERVER_TEXT_MODEL_JSON_H_
