#include "tests/text/reference_bpe.h"

namespace olmoe::text::testing {
namespace {

bool ApplyFirst(std::vector<TokenId>* ids, std::span<const BpeMerge> merges) {
  for (const BpeMerge& merge : merges) {
    for (size_t i = 0; i + 1 < ids->size(); ++i) {
      if ((*ids)[i] != merge.left || (*ids)[i + 1] != merge.right) continue;
      (*ids)[i] = merge.merged;
      ids->erase(ids->begin() + static_cast<ptrdiff_t>(i) + 1);
      return true;
    }
  }
  return false;
}

}  // namespace

std::vector<TokenId> ReferenceMerge(std::vector<TokenId> ids, std::span<const BpeMerge> merges) {
  while (ApplyFirst(&ids, merges)) {
  }
  return ids;
}

}  // namespace olmoe::text::testing
