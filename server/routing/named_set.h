#ifndef OLMOE_SERVER_ROUTING_NAMED_SET_H_
#define OLMOE_SERVER_ROUTING_NAMED_SET_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "glog/logging.h"

namespace olmoe::routing {

// What plans refer to by name, such as the calibrations of a server. Whoever holds an Item keeps
// it: to remove a name changes no policy that is running. Thread-safe.
//
// An Item is immutable; it has name(), digest(), and for people kKind ("calibration") and kContent
// ("tables").
template <class Item>
class NamedSet {
 public:
  // Called before a change, one at a time, and may take as long as a disk does: Find and
  // List go on meanwhile. An error refuses the change. May be empty.
  struct Hooks {
    std::function<absl::Status(const Item& item)> before_add;
    std::function<absl::Status(const std::string& name)> before_remove;
  };
  NamedSet() = default;
  // `initial`: those that it begins with, of different names; no hook is called for them.
  explicit NamedSet(Hooks hooks, const std::vector<std::shared_ptr<const Item>>& initial = {})
      : hooks_(std::move(hooks)) {
    for (const auto& item : initial) CHECK(by_name_.emplace(item->name(), item).second);
  }

  // ALREADY_EXISTS where the name has another content: a name means one item for ever. The same
  // again: OK, and no hook is called.
  absl::Status Add(std::shared_ptr<const Item> item) ABSL_LOCKS_EXCLUDED(change_mu_, mu_) {
    CHECK(item != nullptr);
    const std::string name = item->name();
    absl::MutexLock change(&change_mu_);
    if (const auto existing = Find(name); existing != nullptr) {
      if (existing->digest() == item->digest()) return absl::OkStatus();
      return absl::AlreadyExistsError(
          absl::StrCat(Item::kKind, " \"", name, "\" exists with other ", Item::kContent));
    }
    if (hooks_.before_add) {
      if (absl::Status status = hooks_.before_add(*item); !status.ok()) return status;
    }
    absl::MutexLock lock(&mu_);
    by_name_.emplace(name, std::move(item));
    return absl::OkStatus();
  }

  // NOT_FOUND where there is none.
  absl::Status Remove(std::string_view name) ABSL_LOCKS_EXCLUDED(change_mu_, mu_) {
    const std::string key(name);
    absl::MutexLock change(&change_mu_);
    std::shared_ptr<const Item> removed = Find(key);  // destroyed outside mu_
    if (removed == nullptr) return NoSuch(key);
    if (hooks_.before_remove) {
      if (absl::Status status = hooks_.before_remove(key); !status.ok()) return status;
    }
    absl::MutexLock lock(&mu_);
    by_name_.erase(key);
    return absl::OkStatus();
  }

  // Null where there is none.
  std::shared_ptr<const Item> Find(std::string_view name) const ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : found->second;
  }
  // By name, ascending.
  std::vector<std::shared_ptr<const Item>> List() const ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    std::vector<std::shared_ptr<const Item>> list;
    list.reserve(by_name_.size());
    for (const auto& [name, item] : by_name_) list.push_back(item);
    return list;
  }

  static absl::Status NoSuch(std::string_view name) {
    return absl::NotFoundError(
        absl::StrCat("there is no ", Item::kKind, " \"", std::string(name), "\""));
  }

 private:
  const Hooks hooks_ = {};
  absl::Mutex change_mu_;  // held by a whole change; before mu_
  mutable absl::Mutex mu_;
  std::map<std::string, std::shared_ptr<const Item>, std::less<>> by_name_ ABSL_GUARDED_BY(mu_);
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_NAMED_SET_H_
