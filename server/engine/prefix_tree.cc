#include "server/engine/prefix_tree.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"

namespace olmoe::engine {
namespace {

size_t SharedTokens(std::span<const TokenId> a, std::span<const TokenId> b) {
  return static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

// The child that shares most with `tokens`; of equal ones any.
PrefixNode* ClosestChild(const PrefixNode& parent, std::span<const TokenId> tokens,
                         size_t* shared) {
  *shared = 0;
  if (tokens.empty()) return nullptr;
  const auto children = parent.children.find(tokens.front());
  if (children == parent.children.end()) return nullptr;
  PrefixNode* closest = nullptr;
  for (const auto& child : children->second) {
    const size_t of_child = SharedTokens(child->tokens, tokens);
    if (of_child <= *shared) continue;
    *shared = of_child;
    closest = child.get();
  }
  return closest;
}

}  // namespace

PrefixTree::PrefixTree(int page_tokens, PagePool* pool) : page_tokens_(page_tokens), pool_(pool) {
  CHECK_GT(page_tokens, 0);
}

PrefixTree::Match PrefixTree::Find(std::string_view root, std::span<const TokenId> tokens,
                                   int limit, bool scored) const {
  Match match;
  const auto found = roots_.find(root);
  if (found == roots_.end() || limit <= 0) return match;
  const PrefixNode* node = found->second.get();
  tokens = tokens.first(std::min(tokens.size(), static_cast<size_t>(limit)));
  while (true) {
    const auto rest = tokens.subspan(static_cast<size_t>(match.num_tokens));
    size_t shared;
    PrefixNode* const child = ClosestChild(*node, rest, &shared);
    if (child == nullptr || (scored && child->scores.empty())) return match;
    match.num_tokens += static_cast<int>(shared);
    if (static_cast<int>(shared) < page_tokens_) {
      match.partial = child;
      match.partial_tokens = static_cast<int>(shared);
      return match;
    }
    match.pages.push_back(child);
    if (child->holders == 0) ++match.num_idle;
    node = child;
  }
}

std::vector<PromptScore> PrefixTree::ScoresOf(const Match& match) {
  std::vector<PromptScore> scores;
  for (const PrefixNode* node : match.pages) {
    scores.insert(scores.end(), node->scores.begin(), node->scores.end());
  }
  if (match.partial != nullptr) {
    const auto first = match.partial->scores.begin();
    scores.insert(scores.end(), first, first + match.partial_tokens);
  }
  return scores;
}

bool PrefixTree::IsRemovable(const PrefixNode& node) const {
  return node.parent != nullptr && node.holders == 0 && node.children.empty();
}

void PrefixTree::Hold(std::span<PrefixNode* const> nodes) {
  for (PrefixNode* node : nodes) {
    if (node->holders++ > 0) continue;
    removable_.erase(node);
    --num_idle_;
  }
}

void PrefixTree::LetGo(std::span<PrefixNode* const> nodes) {
  for (PrefixNode* node : nodes) {
    CHECK_GT(node->holders, 0);
    if (--node->holders > 0) continue;
    node->last_used = ++clock_;
    ++num_idle_;
    if (IsRemovable(*node)) removable_.insert(node);
  }
}

PrefixNode* PrefixTree::Insert(std::string_view root, PrefixNode* parent, model::PageId page,
                               std::span<const TokenId> tokens, RoutingTrace trace,
                               std::vector<PromptScore> scores) {
  CHECK(!tokens.empty() && tokens.size() <= static_cast<size_t>(page_tokens_));
  CHECK_EQ(trace.num_positions, static_cast<int>(tokens.size()));
  CHECK(scores.empty() || scores.size() == tokens.size());
  const bool is_whole = tokens.size() == static_cast<size_t>(page_tokens_);
  if (parent == nullptr) {
    std::unique_ptr<PrefixNode>& owned = roots_[std::string(root)];
    if (owned == nullptr) {
      owned = std::make_unique<PrefixNode>();
      owned->root = root;
    }
    parent = owned.get();
  } else {
    CHECK_GT(parent->holders, 0);
  }
  size_t shared;
  PrefixNode* const closest = ClosestChild(*parent, tokens, &shared);
  if (closest != nullptr && shared == tokens.size()) {
    if (closest->scores.empty() && closest->tokens.size() == scores.size()) {
      closest->scores = std::move(scores);
    }
    if (!is_whole) return nullptr;
    pool_->GiveBack({page});
    Hold({&closest, 1});
    return closest;
  }
  auto node = std::make_unique<PrefixNode>();
  node->parent = parent;
  node->page = page;
  node->tokens.assign(tokens.begin(), tokens.end());
  node->trace = std::move(trace);
  node->scores = std::move(scores);
  node->holders = 1;
  ++num_pages_;
  auto& siblings = parent->children[tokens.front()];
  siblings.push_back(std::move(node));
  return siblings.back().get();
}

void PrefixTree::MakeRoom(int num_pages) {
  while (pool_->available() < num_pages) {
    CHECK(!removable_.empty()) << "no page is idle";
    Remove(*removable_.begin());
  }
}

void PrefixTree::Forget(std::string_view root) {
  // The root goes with the last of its pages.
  for (auto found = roots_.find(root); found != roots_.end(); found = roots_.find(root)) {
    PrefixNode* node = found->second.get();
    while (!node->children.empty()) node = node->children.begin()->second.back().get();
    CHECK_EQ(node->holders, 0);
    Remove(node);
  }
}

void PrefixTree::Remove(PrefixNode* node) {
  removable_.erase(node);
  --num_idle_;
  --num_pages_;
  pool_->GiveBack({node->page});
  PrefixNode* const parent = node->parent;
  EraseChild(parent, node);
  if (!parent->children.empty()) return;
  if (parent->parent == nullptr) {
    roots_.erase(parent->root);
  } else if (IsRemovable(*parent)) {
    removable_.insert(parent);
  }
}

void PrefixTree::EraseChild(PrefixNode* parent, const PrefixNode* child) {
  const auto siblings = parent->children.find(child->tokens.front());
  CHECK(siblings != parent->children.end());
  std::erase_if(siblings->second, [child](const auto& sibling) { return sibling.get() == child; });
  if (siblings->second.empty()) parent->children.erase(siblings);
}

}  // namespace olmoe::engine
