#ifndef OLMOE_TESTS_TEXT_REFERENCE_BPE_H_
#define OLMOE_TESTS_TEXT_REFERENCE_BPE_H_

#include <span>
#include <vector>

#include "server/text/bpe.h"
#include "server/util/token_id.h"

namespace olmoe::text::testing {

// The definition of byte-pair encoding as a plain loop: find the first merge of the
// list that applies anywhere, apply it at the leftmost place, start over. `merges`
// must not repeat a pair. O(merges * n^2).
std::vector<TokenId> ReferenceMerge(std::vector<TokenId> ids, std::span<const BpeMerge> merges);

}  // namespace olmoe::text::testing

#endif  // OLMOE_TESTS_TEXT_REFERENCE_BPE_H_
