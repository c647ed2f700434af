#include "server/engine/page_pool.h"

#include "glog/logging.h"

namespace olmoe::engine {

PagePool::PagePool(const model::KvCacheShape& shape)
    : page_tokens_(shape.page_tokens), taken_(shape.num_pages, false) {
  CHECK_GT(shape.page_tokens, 0);
  CHECK_GT(shape.num_pages, 0);
  for (model::PageId page = shape.num_pages - 1; page >= 0; --page) free_.push_back(page);
}

int PagePool::PagesFor(int num_positions) const {
  return (num_positions + page_tokens_ - 1) / page_tokens_;
}

std::vector<model::PageId> PagePool::Take(int num_pages) {
  CHECK_GE(num_pages, 0);
  CHECK_LE(num_pages, available());
  std::vector<model::PageId> pages(free_.rbegin(), free_.rbegin() + num_pages);
  free_.resize(free_.size() - static_cast<size_t>(num_pages));
  for (model::PageId page : pages) taken_[page] = true;
  return pages;
}

void PagePool::GiveBack(const std::vector<model::PageId>& pages) {
  for (auto page = pages.rbegin(); page != pages.rend(); ++page) {
    CHECK(taken_.at(*page)) << "page " << *page << " was given back twice";
    taken_[*page] = false;
    free_.push_back(*page);
  }
}

}  // namespace olmoe::engine
