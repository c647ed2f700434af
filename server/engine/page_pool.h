#ifndef OLMOE_SERVER_ENGINE_PAGE_POOL_H_
#define OLMOE_SERVER_ENGINE_PAGE_POOL_H_

#include <cstdint>
#include <vector>

#include "server/model/model.h"

namespace olmoe::engine {

// Who has which page of the KV cache. A sequence takes every page that it can ever need before its
// first row and gives all of them back at its end, so a sequence that has begun never waits for
// memory and none has to be preempted. The pool counts; the memory is the model's.
// Thread-compatible; the engine uses it on its own thread only.
class PagePool {
 public:
  explicit PagePool(const model::KvCacheShape& shape);
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  // Pages that hold `num_positions` positions of one sequence.
  int PagesFor(int num_positions) const;

  // num_pages <= available(), CHECKed.
  std::vector<model::PageId> Take(int num_pages);
  // Gives back what Take gave; a page that is free already CHECKs.
  void GiveBack(const std::vector<model::PageId>& pages);

  int capacity() const { return static_cast<int>(taken_.size()); }
  int available() const { return static_cast<int>(free_.size()); }
  int used() const { return capacity() - available(); }

 private:
  const int page_tokens_;
  std::vector<model::PageId> free_;  // used as a stack: the page given back last is warm
  std::vector<bool> taken_;          // [num_pages]
};

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_PAGE_POOL_H_
